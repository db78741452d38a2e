//! The body of a request as it is sent to an endpoint: once, or again when it is kept for that.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;

use super::body::BodyError;
use super::budget::Share;
use super::interim::{Gate, Wait};
use super::meter::Metered;
use super::tee::Copy;

/// The body of one attempt.
#[derive(Debug)]
pub struct Outgoing(Kind);

#[derive(Debug)]
enum Kind {
    Empty,
    Once(Metered),
    Again {
        replay: Arc<Mutex<Replay>>,
        /// The next frame.
        position: usize,
    },
    Copy(Copy),
    Held {
        wait: Option<Wait>,
        body: Box<Outgoing>,
    },
}

/// A body that can be sent again as long as what was sent of it is small.
///
/// Attempts share it: whoever polls first reads the next frame, and all see all frames. An attempt ends before the next
/// one begins, since the body wakes the last who asked.
#[derive(Debug)]
pub struct Replay {
    source: Metered,
    frames: Vec<Kept>,
    /// Bytes in `frames`, for the length.
    kept: usize,
    /// What they take of the memory.
    held: usize,
    share: Share,
    limit: usize,
    is_over: bool,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// More is to come.
    Open,
    /// That was all.
    Whole,
    /// It broke off.
    Broken,
}

#[derive(Debug, Clone)]
enum Kept {
    Data(Bytes),
    Trailers(HeaderMap),
}

/// An attempt wants a part of the body that is not kept any more.
#[derive(Debug, thiserror::Error)]
#[error("more of the request's body was sent than is kept for sending it again")]
struct NotKept;

/// The client's part of the body broke off earlier.
#[derive(Debug, thiserror::Error)]
#[error("the client broke the request's body off")]
struct BrokenOff;

// === impl Outgoing ===

impl Outgoing {
    /// No body.
    pub fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// A body that is sent once.
    pub fn once(body: Metered) -> Self {
        Self(Kind::Once(body))
    }

    /// From its beginning, what may be sent again later.
    pub fn again(replay: &Arc<Mutex<Replay>>) -> Self {
        Self(Kind::Again {
            replay: Arc::clone(replay),
            position: 0,
        })
    }

    /// The body that is sent once, out of a request that was not sent.
    pub fn into_once(self) -> Option<Metered> {
        match self.0 {
            Kind::Once(body) => Some(body),
            Kind::Held { body, .. } => body.into_once(),
            _ => None,
        }
    }

    /// Waits at a gate before its first byte.
    #[must_use]
    pub fn held(self, gate: &Arc<Gate>) -> Self {
        Self(Kind::Held {
            wait: Some(gate.wait()),
            body: Box::new(self),
        })
    }

    /// A copy of another request's body.
    pub fn copy(copy: Copy) -> Self {
        Self(Kind::Copy(copy))
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Once(body) => Pin::new(body).poll_frame(context),
            Kind::Again { replay, position } => replay.lock().poll(position, context),
            Kind::Copy(copy) => Pin::new(copy).poll_frame(context),
            Kind::Held { wait, body } => {
                if let Some(waiting) = wait {
                    ready!(waiting.poll(context));
                    *wait = None;
                }
                Pin::new(&mut **body).poll_frame(context)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Once(body) => body.is_end_stream(),
            Kind::Again { replay, position } => {
                let replay = replay.lock();
                replay.end == End::Whole && *position >= replay.frames.len()
            }
            Kind::Copy(copy) => copy.is_end_stream(),
            Kind::Held { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Once(body) => body.size_hint(),
            Kind::Again { replay, position: 0 } => {
                let replay = replay.lock();
                let left = replay.source.size_hint();
                match left.exact() {
                    Some(left) => SizeHint::with_exact(left + replay.kept as u64),
                    None => SizeHint::default(),
                }
            }
            Kind::Held { body, .. } => body.size_hint(),
            Kind::Again { .. } | Kind::Copy(_) => SizeHint::default(),
        }
    }
}

// === impl Replay ===

impl Replay {
    /// The body; as long as what was sent of it takes no more than `limit` bytes of memory, and `share` had room for them, it can be sent again.
    pub fn new(source: Metered, limit: usize, share: Share) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            source,
            frames: Vec::new(),
            kept: 0,
            held: 0,
            share,
            limit,
            is_over: false,
            end: End::Open,
        }))
    }

    /// Whether another attempt would see all of it.
    pub fn can_repeat(&self) -> bool {
        !self.is_over && self.end != End::Broken
    }

    fn poll(
        &mut self,
        position: &mut usize,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.is_over {
            // The attempt that went past the limit reads on; every other one is lost.
            if *position != usize::MAX {
                return Poll::Ready(Some(Err(BodyError::other(NotKept))));
            }
            return Pin::new(&mut self.source).poll_frame(context);
        }
        if let Some(kept) = self.frames.get(*position) {
            *position += 1;
            return Poll::Ready(Some(Ok(match kept {
                Kept::Data(data) => Frame::data(data.clone()),
                Kept::Trailers(trailers) => Frame::trailers(trailers.clone()),
            })));
        }
        match self.end {
            End::Open => {}
            End::Whole => return Poll::Ready(None),
            End::Broken => return Poll::Ready(Some(Err(BodyError::other(BrokenOff)))),
        }
        let frame = ready!(Pin::new(&mut self.source).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                self.keep(frame, position);
                if frame.is_trailers() && !self.is_over {
                    self.end = End::Whole;
                }
            }
            Some(Err(_)) => self.end = End::Broken,
            None => self.end = End::Whole,
        }
        if self.source.is_end_stream() && self.end == End::Open && !self.is_over {
            self.end = End::Whole;
        }
        Poll::Ready(frame)
    }

    fn keep(&mut self, frame: &Frame<Bytes>, position: &mut usize) {
        let kept = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => Kept::Data(data.clone()),
            (None, Some(trailers)) => Kept::Trailers(trailers.clone()),
            (None, None) => return,
        };
        let bytes = match &kept {
            Kept::Data(data) if data.is_empty() => return,
            Kept::Data(data) => data.len(),
            Kept::Trailers(_) => 0,
        };
        self.kept += bytes;
        // A body in many small pieces takes more than its bytes.
        let cost = bytes + size_of::<Kept>();
        self.held += cost;
        if self.held > self.limit || !self.share.take(cost) {
            self.is_over = true;
            self.frames = Vec::new();
            self.share.clear();
            *position = usize::MAX;
            return;
        }
        self.frames.push(kept);
        *position += 1;
    }
}

#[cfg(test)]
mod tests;

//! Copies of a body for mirrored requests. A copy never holds the original up: one that falls behind is broken off.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;

use super::body::BodyError;

/// Frames that a copy may lag behind. Frames are at most as large as the connection's read buffer.
const MAX_LAG: usize = 64;

/// Where a body is copied to. Dropped without [`Tee::finish`], it breaks the copy off.
#[derive(Debug)]
pub struct Tee {
    frames: mpsc::Sender<Option<Bytes>>,
}

/// The copy.
#[derive(Debug)]
pub struct Copy {
    frames: mpsc::Receiver<Option<Bytes>>,
    is_ended: bool,
}

/// The original was broken off, or the copy fell behind.
#[derive(Debug, thiserror::Error)]
#[error("the request that this is a copy of was broken off, or the copy fell behind it")]
struct Behind;

/// Both ends.
pub fn channel() -> (Tee, Copy) {
    let (sender, receiver) = mpsc::channel(MAX_LAG);
    (
        Tee { frames: sender },
        Copy {
            frames: receiver,
            is_ended: false,
        },
    )
}

// === impl Tee ===

impl Tee {
    /// Copies some bytes; false when the copy is broken off.
    pub fn send(&mut self, bytes: Bytes) -> bool {
        self.frames.try_send(Some(bytes)).is_ok()
    }

    /// The original has ended well, and so does the copy.
    pub fn finish(self) {
        // Without a place in the queue the copy is behind, and broken off by the drop.
        drop(self.frames.try_send(None));
    }
}

impl Body for Copy {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.is_ended {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.frames.poll_recv(context)) {
            Some(Some(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(None) => {
                self.is_ended = true;
                None
            }
            None => Some(Err(BodyError::other(Behind))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.is_ended
    }
}

//! What passes through the bodies of one exchange: counted, and the moment of the last byte kept, so that an exchange
//! in which nothing moves any more can be told from a slow one.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::body::{Body, BodyError};
use super::tee::Tee;

/// The counts of one exchange.
#[derive(Debug)]
pub struct Meter {
    started: Instant,
    sent: AtomicU64,
    received: AtomicU64,
    /// Milliseconds from the start to the last byte in either direction.
    moved: AtomicU64,
    is_sent: AtomicBool,
    is_too_large: AtomicBool,
    is_broken: AtomicBool,
    end: Notify,
}

/// The request's body on its way to an endpoint: counted, and copied to where it is mirrored.
#[derive(Debug)]
pub struct Metered {
    body: Body,
    meter: std::sync::Arc<Meter>,
    tees: Vec<Tee>,
    /// Bytes that there may still be.
    left: u64,
}

/// There is more of the body than is taken.
#[derive(Debug, thiserror::Error)]
#[error("the request's body is too large")]
struct TooLarge;

// === impl Meter ===

impl Meter {
    /// Starts now. A request without a body is whole from the start.
    pub fn new(started: Instant, has_body: bool) -> Self {
        Self {
            started,
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            is_sent: AtomicBool::new(!has_body),
            is_too_large: AtomicBool::new(false),
            is_broken: AtomicBool::new(false),
            end: Notify::new(),
        }
    }

    /// Bytes of the request's body.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Bytes of the answer's body.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// So many bytes have gone to the endpoint, past the request's body: after an upgrade.
    pub fn add_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        self.touch();
    }

    /// So many bytes of the answer have come.
    pub fn add_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.touch();
    }

    /// Whether the whole request has been read.
    pub fn is_request_read(&self) -> bool {
        self.is_sent.load(Ordering::Acquire)
    }

    /// Whether the request's body was broken off for its size.
    pub fn is_too_large(&self) -> bool {
        self.is_too_large.load(Ordering::Relaxed)
    }

    /// Whether the client's part broke off: what follows from that speaks against nobody else.
    pub fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }

    /// Waits until the whole request has been read.
    pub async fn request_read(&self) {
        loop {
            let notified = self.end.notified();
            if self.is_request_read() {
                return;
            }
            notified.await;
        }
    }

    /// Returns when no byte has moved for so long.
    pub async fn idle(&self, limit: Duration) {
        loop {
            let moved = self.started + Duration::from_millis(self.moved.load(Ordering::Relaxed));
            if moved.elapsed() >= limit {
                return;
            }
            sleep_until(moved + limit).await;
        }
    }

    /// Something has moved.
    pub fn touch(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(now, Ordering::Relaxed);
    }

    fn sent_all(&self) {
        self.is_sent.store(true, Ordering::Release);
        self.end.notify_waiters();
    }
}

// === impl Metered ===

impl Metered {
    /// The body, counted by `meter` and copied to `tees`; broken off when it has more than `most` bytes.
    pub fn new(body: Body, meter: std::sync::Arc<Meter>, tees: Vec<Tee>, most: u64) -> Self {
        Self {
            body,
            meter,
            tees,
            left: most,
        }
    }
}

impl hyper::body::Body for Metered {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    let Some(left) = self.left.checked_sub(data.len() as u64) else {
                        self.meter.is_too_large.store(true, Ordering::Relaxed);
                        self.meter.is_broken.store(true, Ordering::Relaxed);
                        self.tees.clear();
                        return Poll::Ready(Some(Err(BodyError::other(TooLarge))));
                    };
                    self.left = left;
                    self.meter.sent.fetch_add(data.len() as u64, Ordering::Relaxed);
                    self.meter.touch();
                    self.tees.retain_mut(|tee| tee.send(data.clone()));
                }
                // After trailers nobody asks for more.
                if frame.is_trailers() || self.body.is_end_stream() {
                    self.meter.sent_all();
                    self.tees.drain(..).for_each(Tee::finish);
                }
            }
            Some(Err(_)) => {
                self.meter.is_broken.store(true, Ordering::Relaxed);
                self.tees.clear();
            }
            None => {
                self.meter.sent_all();
                self.tees.drain(..).for_each(Tee::finish);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

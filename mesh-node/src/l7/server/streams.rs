//! The streams of one HTTP/2 connection, in the connection's own task: an executor that owns what it runs.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;

/// What hyper hands streams to. Called from within the connection's own task only, so the lock is never waited for.
#[derive(Clone, Default)]
pub(super) struct Spawner(Arc<Mutex<Vec<BoxFuture<'static, ()>>>>);

/// The streams in progress. Dropping it ends them.
#[derive(Default)]
pub(super) struct Streams {
    spawner: Spawner,
    running: FuturesUnordered<BoxFuture<'static, ()>>,
}

// === impl Spawner ===

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.lock().push(Box::pin(async move {
            future.await;
        }));
    }
}

// === impl Streams ===

impl Streams {
    /// What adds streams.
    pub(super) fn spawner(&self) -> Spawner {
        self.spawner.clone()
    }

    /// Makes progress with all that can; ready when none is left, and to be polled again when some were added.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            self.running.extend(self.spawner.0.lock().drain(..));
            match Pin::new(&mut self.running).poll_next(context) {
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) if self.spawner.0.lock().is_empty() => return Poll::Ready(()),
                Poll::Ready(None) => {}
                Poll::Pending if self.spawner.0.lock().is_empty() => return Poll::Pending,
                Poll::Pending => {}
            }
        }
    }
}

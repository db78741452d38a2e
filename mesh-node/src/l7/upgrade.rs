//! What comes after HTTP on a connection: the bytes of another protocol, once an upgrade or a CONNECT was granted.
//!
//! The handler attaches to its answer what is to be done with them; the server runs it when the answer was written, as a
//! part of the connection, so that nothing outlives it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use futures::future::BoxFuture;
use http::Response;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;

use super::body::Body;

/// The client's bytes, both ways.
pub type Upgraded = TokioIo<hyper::upgrade::Upgraded>;

type Run = Box<dyn FnOnce(Upgraded) -> BoxFuture<'static, ()> + Send>;

/// What is to be done with an upgraded connection. In an answer's extensions, which want to be cloned: the first that
/// takes it, has it.
#[derive(Clone)]
pub(super) struct OnUpgraded(Arc<Mutex<Option<Run>>>);

/// Has `run` called with the client's side when `answer` has been written: one with 101 to an upgrade, or a success to
/// a CONNECT. With any other status, or when the client goes first, `run` is dropped.
pub fn attach<F, R>(answer: &mut Response<Body>, run: F)
where
    F: FnOnce(Upgraded) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let run: Run = Box::new(|upgraded| Box::pin(run(upgraded)));
    answer
        .extensions_mut()
        .insert(OnUpgraded(Arc::new(Mutex::new(Some(run)))));
}

/// What was attached, with the upgrade that it waits for.
pub(super) struct Pending {
    pub(super) upgrade: hyper::upgrade::OnUpgrade,
    pub(super) run: OnUpgraded,
}

// === impl Pending ===

impl Pending {
    /// Waits for the upgrade and does what is to be done.
    pub(super) async fn run(self) {
        let Some(run) = self.run.0.lock().take() else {
            return;
        };
        match self.upgrade.await {
            Ok(upgraded) => {
                let work: Pin<Box<dyn Future<Output = ()> + Send>> = run(TokioIo::new(upgraded));
                work.await;
            }
            Err(error) => tracing::debug!(%error, "the client went before its connection was upgraded"),
        }
    }
}

// === impl OnUpgraded ===

impl fmt::Debug for OnUpgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnUpgraded")
    }
}

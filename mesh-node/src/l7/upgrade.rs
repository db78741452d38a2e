//! What comes after HTTP on a connection: the bytes of another protocol, once an upgrade or a CONNECT was granted.
//!
//! The handler attaches to its answer what is to be done with them; the server runs it when the answer was written, as a
//! part of the connection, so that nothing outlives it.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::Response;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::body::Body;
use crate::net::io::SideIo;

/// The client's bytes, both ways.
pub struct Upgraded(Kind);

enum Kind {
    /// All of a connection.
    Http1(TokioIo<hyper::upgrade::Upgraded>),
    /// A stream of HTTP/2.
    Http2(SideIo),
}

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

/// An upgrade of HTTP/1 that was asked for, and what was attached to its answer: nothing, if it was declined.
pub(super) struct Asked {
    pub(super) upgrade: hyper::upgrade::OnUpgrade,
    pub(super) granted: Option<OnUpgraded>,
}

// === impl Asked ===

impl Asked {
    /// Waits for the connection and does what is to be done.
    pub(super) async fn run(self) {
        let upgraded = self.upgrade.await.map(TokioIo::new);
        match (upgraded, self.granted) {
            (Ok(upgraded), Some(granted)) => granted.run(Upgraded(Kind::Http1(upgraded))).await,
            // hyper hands a connection over when it is through with it, though nothing was granted. It has an end, too.
            (Ok(mut upgraded), None) => {
                if let Err(error) = upgraded.shutdown().await {
                    tracing::trace!(%error, "the client's connection broke");
                }
            }
            (Err(error), Some(_)) => {
                tracing::debug!(%error, "the client went before its connection was upgraded");
            }
            (Err(_), None) => {}
        }
    }
}

// === impl OnUpgraded ===

impl OnUpgraded {
    /// Does what is to be done with a stream of HTTP/2.
    pub(super) async fn run_stream(self, stream: SideIo) {
        self.run(Upgraded(Kind::Http2(stream))).await;
    }

    async fn run(self, upgraded: Upgraded) {
        let run = self.0.lock().take();
        if let Some(run) = run {
            run(upgraded).await;
        }
    }
}

impl fmt::Debug for OnUpgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnUpgraded")
    }
}

// === impl Upgraded ===

impl AsyncRead for Upgraded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Http1(io) => Pin::new(io).poll_read(context, buffer),
            Kind::Http2(io) => Pin::new(io).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Kind::Http1(io) => Pin::new(io).poll_write(context, bytes),
            Kind::Http2(io) => Pin::new(io).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Http1(io) => Pin::new(io).poll_flush(context),
            Kind::Http2(io) => Pin::new(io).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Http1(io) => Pin::new(io).poll_shutdown(context),
            Kind::Http2(io) => Pin::new(io).poll_shutdown(context),
        }
    }
}

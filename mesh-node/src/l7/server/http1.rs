//! HTTP/1 on one connection.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use http::Method;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Handler, ServeError};
use crate::l7::body::Body;
use crate::l7::limits::Limits;
use crate::l7::upgrade::{OnUpgraded, Pending};

/// Beyond the largest head, what hyper may hold of a connection's bytes, in each direction.
const BUFFER: usize = 64 * 1024;

pub(super) async fn serve<IO, H>(
    io: IO,
    limits: &Limits,
    stop: impl Future<Output = ()> + Send,
    handler: H,
) -> Result<(), ServeError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let pending: Arc<Mutex<Option<Pending>>> = Arc::default();
    let service = service_fn(|mut request: http::Request<hyper::body::Incoming>| {
        let (handler, pending) = (handler.clone(), Arc::clone(&pending));
        async move {
            let is_connect = request.method() == Method::CONNECT;
            let upgrade = hyper::upgrade::on(&mut request);
            let mut answer = handler.handle(request.map(Body::incoming)).await;
            let granted = answer.status() == http::StatusCode::SWITCHING_PROTOCOLS
                || (is_connect && answer.status().is_success());
            let run = answer.extensions_mut().remove::<OnUpgraded>();
            if let (true, Some(run)) = (granted, run) {
                *pending.lock() = Some(Pending { upgrade, run });
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .half_close(true)
        .max_headers(limits.max_headers)
        .max_buf_size(limits.max_head_bytes.max(BUFFER))
        .header_read_timeout(None);
    let connection = builder
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop => {
            connection.as_mut().graceful_shutdown();
            let ended = tokio::time::timeout(limits.drain_deadline, connection).await;
            ended.map_err(|_| ServeError::Drained)?
        }
    };
    ended.map_err(|error| ServeError::Broken(error.into()))?;
    let pending = pending.lock().take();
    if let Some(pending) = pending {
        pending.run().await;
    }
    Ok(())
}

//! HTTP/2 on one connection.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use http::Method;
use hyper::rt::Executor as _;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::streams::Streams;
use super::{Handler, ServeError};
use crate::l7::body::Body;
use crate::l7::limits::Limits;
use crate::l7::upgrade::{OnUpgraded, Pending};

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
    let mut streams = Streams::default();
    let spawner = streams.spawner();
    let service = {
        let spawner = spawner.clone();
        service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
            let (handler, spawner) = (handler.clone(), spawner.clone());
            async move {
                let is_connect = request.method() == Method::CONNECT;
                let upgrade = hyper::upgrade::on(&mut request);
                let mut answer = handler.handle(request.map(Body::incoming)).await;
                let run = answer.extensions_mut().remove::<OnUpgraded>();
                if let (true, Some(run)) = (is_connect && answer.status().is_success(), run) {
                    spawner.execute(Pending { upgrade, run }.run());
                }
                Ok::<_, Infallible>(answer)
            }
        })
    };
    let mut builder = http2::Builder::new(spawner);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_streams)
        .initial_stream_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_header_list_size(u32::try_from(limits.max_head_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.ping_interval)
        .keep_alive_timeout(limits.ping_timeout);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let mut stop = pin!(stop);
    let mut stopped = false;
    let mut deadline = pin!(tokio::time::sleep(limits.drain_deadline));
    let mut ended = None;
    poll_fn(|context| {
        if !stopped && stop.as_mut().poll(context).is_ready() {
            stopped = true;
            connection.as_mut().graceful_shutdown();
            deadline
                .as_mut()
                .reset(tokio::time::Instant::now() + limits.drain_deadline);
        }
        if ended.is_none()
            && let Poll::Ready(result) = connection.as_mut().poll(context)
        {
            ended = Some(result);
        }
        // What is left of the streams sees the connection's end, and ends.
        let streams = Pin::new(&mut streams).poll(context);
        if let (Some(_), Poll::Ready(())) = (&ended, streams) {
            return Poll::Ready(Ok(()));
        }
        if stopped && deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(ServeError::Drained));
        }
        Poll::Pending
    })
    .await?;
    match ended {
        Some(Err(error)) => Err(ServeError::Broken(error.into())),
        _ => Ok(()),
    }
}

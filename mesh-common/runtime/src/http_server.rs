//! A small HTTP/1 server for a process's own endpoints: metrics, readiness, administration.
//!
//! Exact paths only. Everything is bounded: connections, header and body size, the time for a request, a
//! connection's age. Refuses to be a product's data path: no TLS, no streaming, no HTTP/2.

mod router;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

pub use self::router::{Request, Response, Router};
use crate::drain;
use crate::tasks;

/// Connections served at once; more wait in the kernel's backlog. A scraper and some people need a handful.
const MAX_CONNECTIONS: usize = 64;
/// A client that has not sent a whole request head by then is closed; so is one that is idle for as long.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// From the request's head to the response's head. Prometheus gives up after 10 s by default.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// The largest request body. The only one there is today is a log filter.
const MAX_BODY: usize = 64 * 1024;
/// The largest request head: hyper's smallest buffer.
const MAX_HEAD: usize = 8 * 1024;
/// A connection is closed after the request at hand when it is this old, so that none is held for ever.
const MAX_AGE: Duration = Duration::from_mins(5);
/// How long requests at hand may still take when a connection or the server is told to stop.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// Pause after accept() failed, for want of descriptors most likely: lets others close theirs.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A server that has its address, and does not answer yet.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}; free the port or change the address in the configuration")]
pub struct BindError {
    /// The address asked for.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

impl HttpServer {
    /// Takes `address`; port 0 lets the system choose. Where `[::]` is asked for, IPv4 is served too.
    pub async fn bind(address: SocketAddr, router: Router) -> Result<Self, BindError> {
        let refused = |source| BindError { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self {
            listener,
            address,
            router,
        })
    }

    /// The address, with the port that the system chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` resolves, then gives the requests at hand a grace of 5 s.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send) {
        let (trigger, drain) = drain::channel();
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let router = Arc::new(self.router);
        let mut stop = pin!(stop);
        loop {
            let next = async {
                // Never closed, so there is always a permit sooner or later.
                let permit = Arc::clone(&slots).acquire_owned().await.ok();
                (permit, self.listener.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                () = &mut stop => break,
                next = next => next,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (router, drain, guard) = (Arc::clone(&router), drain.clone(), drain.guard());
                    tasks::spawn_guarded("http connection", guard, async move {
                        connection(stream, router, drain).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(address = %self.address, %error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        trigger.drain(STOP_GRACE).await;
    }
}

async fn connection(stream: TcpStream, router: Arc<Router>, drain: drain::Drain) {
    let service = service_fn(move |request| {
        let router = Arc::clone(&router);
        async move { Ok::<_, Infallible>(answer(&router, request).await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service)
    );
    // How it ends is the client's business: it may have gone in the middle of anything.
    let ended = tokio::select! {
        _ = &mut connection => true,
        () = drain.stopping() => false,
        () = tokio::time::sleep(MAX_AGE) => false,
    };
    if !ended {
        connection.as_mut().graceful_shutdown();
        drop(tokio::time::timeout(STOP_GRACE, connection).await);
    }
}

async fn answer(router: &Router, request: http::Request<Incoming>) -> http::Response<Full<Bytes>> {
    let response = match tokio::time::timeout(REQUEST_DEADLINE, dispatch(router, request)).await {
        Ok(response) => response,
        Err(_) => Response::text(StatusCode::GATEWAY_TIMEOUT, "no answer within 10 s\n"),
    };
    response.into_http()
}

async fn dispatch(router: &Router, request: http::Request<Incoming>) -> Response {
    let (head, body) = request.into_parts();
    let handler = match router.find(&head.method, head.uri.path()) {
        Ok(handler) => handler,
        Err(refusal) => return refusal,
    };
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Response::text(StatusCode::PAYLOAD_TOO_LARGE, "a body is 64 KiB at most\n");
        }
        Err(error) => return Response::text(StatusCode::BAD_REQUEST, format!("broken body: {error}\n")),
    };
    handler(Request {
        query: head.uri.query().map(str::to_owned),
        body,
    })
    .await
}

#[cfg(test)]
mod tests;

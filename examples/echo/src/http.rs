//! The HTTP server: says who answers, in which version; fails or dawdles as often as it is told to.
//!
//! Each request is one line in its log, so that what never arrived can be told from what was answered badly.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderValue, Request, Response, StatusCode};
use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::time::duration;

/// Connections at once; more wait in the kernel's queue. Far above what the demo opens.
const MAX_CONNECTIONS: usize = 1024;
/// Bytes of a request's body that are read; a longer one is answered 413.
const MAX_BODY: usize = 1024 * 1024;
/// A client that takes longer for a request's head is let go.
const HEAD: Duration = Duration::from_secs(30);
/// Pause after accept() failed, for want of descriptors most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where to listen, and what to answer.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Address and port to listen on; [::] takes IPv4 too
    #[arg(long)]
    listen: SocketAddr,
    /// The name in answers
    #[arg(long, default_value = "echo")]
    name: String,
    /// The version in answers, and in their header x-version
    #[arg(long, default_value = "v1")]
    version: String,
    /// Percentage of requests that are answered 503
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    fail: u8,
    /// Pause before each answer: 500ms, 2s
    #[arg(long, default_value = "0ms", value_parser = duration)]
    delay: Duration,
}

pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(async {
        let listener = TcpListener::bind(arguments.listen)
            .await
            .with_context(|| format!("cannot listen on {}", arguments.listen))?;
        println!("{} listens on {}", arguments.name, listener.local_addr()?);
        accept(listener, Arc::new(arguments)).await;
        Ok(())
    })
}

/// Serves until the process ends.
async fn accept(listener: TcpListener, arguments: Arc<Arguments>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => drop(connections.spawn(serve(stream, Arc::clone(&arguments)))),
            Err(error) => {
                eprintln!("cannot accept: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, arguments: Arc<Arguments>) {
    let answer = service_fn(|request| answer(request, &arguments));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
    if let Err(error) = served {
        eprintln!("a connection ended: {error}");
    }
}

async fn answer(
    request: Request<Incoming>,
    arguments: &Arguments,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let what = format!("{} {}", head.method, head.uri);
    let who = format!("{} {}", arguments.name, arguments.version);
    let (status, text) = if Limited::new(body, MAX_BODY).collect().await.is_err() {
        (
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("{who} does not read as long a body"),
        )
    } else {
        tokio::time::sleep(arguments.delay).await;
        if fastrand::u8(..100) < arguments.fail {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{who} fails: {what}"))
        } else {
            (StatusCode::OK, format!("{who}: {what}"))
        }
    };
    println!("{} {what}", status.as_u16());
    let mut response = Response::new(Full::from(text + "\n"));
    *response.status_mut() = status;
    if let Ok(version) = HeaderValue::from_str(&arguments.version) {
        response.headers_mut().insert("x-version", version);
    }
    Ok(response)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A server on the loopback for the rest of the test process.
    pub(crate) fn start(version: &str, fail: u8, delay: Duration) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let arguments = Arguments {
            listen: address,
            name: "web".to_owned(),
            version: version.to_owned(),
            fail,
            delay,
        };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                accept(TcpListener::from_std(listener).unwrap(), Arc::new(arguments)).await;
            });
        });
        address
    }
}

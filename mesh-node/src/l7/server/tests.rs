//! The server on bytes in memory: a client that writes what it likes, and a handler that notes what it was asked.

mod corpus;
mod frames;
mod http1;
mod http2;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use mesh_runtime::drain::{self, Trigger};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::{Handler, Refusal, ServeError, Version, serve};
use crate::config::HttpConfig;
use crate::l7::body::Body;
use crate::l7::limits::Limits;
use crate::l7::reply::{self, Client, reply};
use crate::l7::upgrade;
use crate::outcome::Flag;

/// Longest wait for anything that is to happen. The clock stands still in most tests: what does not happen fails at once.
const DEADLINE: Duration = Duration::from_secs(7200);
/// What the pipe between both ends holds.
const PIPE: usize = 64 * 1024;

/// What the handler was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    method: Method,
    target: String,
    /// Path and query.
    path: String,
    headers: HeaderMap,
    body: Result<String, String>,
    trailers: Option<HeaderMap>,
}

/// Answers as the path says.
#[derive(Clone, Default)]
struct Recorder {
    asked: Arc<Mutex<Vec<Asked>>>,
    begun: Arc<Mutex<Vec<String>>>,
    ended: Arc<Mutex<Vec<String>>>,
    refused: Arc<Mutex<Vec<Refusal>>>,
}

/// Tells when a request is over, however that comes about.
struct Ended(Arc<Mutex<Vec<String>>>, String);

/// A server with one connection.
struct Server {
    client: DuplexStream,
    recorder: Recorder,
    trigger: Trigger,
    task: JoinSet<Result<(), ServeError>>,
    handle: AbortHandle,
}

fn limits() -> Limits {
    Limits::new(&HttpConfig::default(), Duration::from_secs(10))
}

// === impl Recorder ===

impl Handler for Recorder {
    async fn handle(&self, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        self.begun.lock().push(path.clone());
        let _ended = Ended(Arc::clone(&self.ended), path.clone());
        if path == "/unread" {
            // `request` is kept, and nothing of it is read.
            std::future::pending::<()>().await;
        }
        if path == "/early" {
            return Response::new(Body::full("early\n"));
        }
        let (parts, body) = request.into_parts();
        let (body, trailers) = match body.collect().await {
            Ok(collected) => {
                let trailers = collected.trailers().cloned();
                let bytes = collected.to_bytes();
                (Ok(String::from_utf8_lossy(&bytes).into_owned()), trailers)
            }
            Err(error) => match error.refusal() {
                // Any answer will do: the server has a better one.
                Some(refusal) => {
                    self.note(&parts, Err(refusal.cause().to_owned()), None);
                    return Response::new(Body::empty());
                }
                None => (Err(error.to_string()), None),
            },
        };
        self.note(&parts, body.clone(), trailers);
        answer(&path, &parts, body.unwrap_or_default()).await
    }

    fn refused(&self, refusal: &Refusal) {
        self.refused.lock().push(refusal.clone());
    }
}

async fn answer(path: &str, parts: &http::request::Parts, body: String) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    match path {
        "/slow" => {
            tokio::time::sleep(Duration::from_secs(5)).await;
            *answer.body_mut() = Body::full("slow\n");
        }
        "/never" => std::future::pending::<()>().await,
        "/large" => *answer.body_mut() = Body::full("x".repeat(1 << 20)),
        "/forged" => {
            let forged = http::HeaderValue::from_static("UH nobody is there");
            answer.headers_mut().insert(reply::ERROR_HEADER, forged);
        }
        "/own" => answer = reply(Client::Http, StatusCode::NOT_FOUND, Flag::NoRoute, "no rule"),
        "/trailers" => {
            let trailers = HeaderMap::from_iter([(
                http::HeaderName::from_static("x-sum"),
                http::HeaderValue::from_static("1"),
            )]);
            let frames = [
                hyper::body::Frame::data("data".into()),
                hyper::body::Frame::trailers(trailers),
            ];
            let frames = futures::stream::iter(frames.map(Ok));
            *answer.body_mut() = Body::boxed(http_body_util::StreamBody::new(frames));
            answer
                .headers_mut()
                .insert(http::header::TRAILER, http::HeaderValue::from_static("x-sum"));
        }
        "/broken" => {
            let frames = [
                Ok(hyper::body::Frame::data("data".into())),
                Err(crate::l7::body::BodyError::other("the endpoint is gone")),
            ];
            let frames = futures::stream::iter(frames).then(async |frame| {
                tokio::time::sleep(Duration::from_secs(1)).await;
                frame
            });
            *answer.body_mut() = Body::boxed(http_body_util::StreamBody::new(Box::pin(frames)));
        }
        "/upgrade" => {
            *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = answer.headers_mut();
            headers.insert(
                http::header::CONNECTION,
                http::HeaderValue::from_static("upgrade"),
            );
            headers.insert(http::header::UPGRADE, http::HeaderValue::from_static("echo"));
            upgrade::attach(&mut answer, echo);
        }
        _ if parts.method == Method::CONNECT => upgrade::attach(&mut answer, echo),
        _ => *answer.body_mut() = Body::full(format!("{path} {body}\n")),
    }
    answer
}

async fn echo(client: upgrade::Upgraded) {
    let (mut read, mut write) = tokio::io::split(client);
    tokio::io::copy(&mut read, &mut write).await.unwrap();
    write.shutdown().await.unwrap();
}

impl Recorder {
    fn note(&self, parts: &http::request::Parts, body: Result<String, String>, trailers: Option<HeaderMap>) {
        self.asked.lock().push(Asked {
            method: parts.method.clone(),
            target: parts.uri.to_string(),
            path: parts
                .uri
                .path_and_query()
                .map_or_else(String::new, ToString::to_string),
            headers: parts.headers.clone(),
            body,
            trailers,
        });
    }

    fn causes(&self) -> Vec<&'static str> {
        self.refused.lock().iter().map(|refusal| refusal.cause).collect()
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.lock().push(std::mem::take(&mut self.1));
    }
}

// === impl Server ===

impl Server {
    fn new(version: Version) -> Self {
        Self::with(version, limits())
    }

    fn with(version: Version, limits: Limits) -> Self {
        let (client, server) = duplex(PIPE);
        let (trigger, drain) = drain::channel();
        let recorder = Recorder::default();
        let handler = recorder.clone();
        let mut task = JoinSet::new();
        let handle =
            task.spawn(async move { serve(server, version, &limits, drain.stopping(), handler).await });
        Self {
            client,
            recorder,
            trigger,
            task,
            handle,
        }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.client.write_all(bytes.as_ref())).await.unwrap();
    }

    /// The client's end of its direction.
    async fn finish(&mut self) {
        self.client.shutdown().await.unwrap();
    }

    /// All up to the server's end.
    async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        within(self.client.read_to_end(&mut bytes)).await.unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Up to and with `end`.
    async fn until(&mut self, end: &str) -> String {
        let mut text = String::new();
        while !text.ends_with(end) {
            let byte = within(self.client.read_u8()).await;
            text.push(char::from(
                byte.unwrap_or_else(|error| panic!("{error} after {text:?}")),
            ));
        }
        text
    }

    async fn ended(self) -> Result<(), ServeError> {
        drop(self.client);
        joined(self.task).await
    }
}

async fn joined<T: 'static>(mut task: JoinSet<T>) -> T {
    within(task.join_next()).await.unwrap().unwrap()
}

async fn within<F: Future>(future: F) -> F::Output {
    timeout(DEADLINE, future).await.expect("it takes too long")
}

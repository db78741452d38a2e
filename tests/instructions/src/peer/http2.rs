//! HTTP/2 and gRPC, by HTTP/2's library, which is asked again and again and so needs nobody to wake it.

use std::io::{self, Read as _, Write as _};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bytes::Bytes;
use h2::RecvStream;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::server::{self, SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{CONTENT, Wire, unless_waiting};

/// A message of gRPC is so much longer: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// Bytes of a gRPC request's message.
const MESSAGE: usize = 100;

pub(super) struct Client {
    is_grpc: bool,
    connection: client::Connection<Wire>,
    send: SendRequest<Bytes>,
    head: Option<ResponseFuture>,
    body: Option<RecvStream>,
    received: usize,
}

pub(super) struct Server {
    is_grpc: bool,
    connection: Connection,
    /// Calls whose message is still to come.
    calls: Vec<(RecvStream, SendResponse<Bytes>)>,
}

enum Connection {
    Opening(Box<server::Handshake<Wire>>),
    Open(Box<server::Connection<Wire, Bytes>>),
}

// === impl Client ===

impl Client {
    pub(super) fn new(wire: Wire, is_grpc: bool) -> Result<Self> {
        let Poll::Ready(opened) = pin!(client::handshake(wire)).poll(&mut now()) else {
            bail!("a connection does not take the first bytes of HTTP/2");
        };
        let (send, connection) = opened?;
        Ok(Self {
            is_grpc,
            connection,
            send,
            head: None,
            body: None,
            received: 0,
        })
    }

    fn drive(&mut self) -> Result<()> {
        match Pin::new(&mut self.connection).poll(&mut now()) {
            Poll::Pending => Ok(()),
            Poll::Ready(result) => Err(anyhow!("the data plane ended a connection: {result:?}")),
        }
    }
}

impl super::Client for Client {
    fn ask(&mut self) -> Result<()> {
        let Poll::Ready(ready) = self.send.poll_ready(&mut now()) else {
            bail!("there is no room for a stream");
        };
        ready?;
        let (head, mut body) = self.send.send_request(request(self.is_grpc)?, !self.is_grpc)?;
        if self.is_grpc {
            body.send_data(message(MESSAGE), true)?;
        }
        self.head = Some(head);
        self.received = 0;
        self.drive()
    }

    fn is_answered(&mut self) -> Result<bool> {
        self.drive()?;
        if let Some(head) = &mut self.head
            && let Poll::Ready(answer) = Pin::new(head).poll(&mut now())
        {
            let answer = answer?;
            ensure!(answer.status().is_success(), "the answer is {answer:?}");
            self.body = Some(answer.into_body());
            self.head = None;
        }
        let Some(body) = &mut self.body else {
            return Ok(false);
        };
        let is_over = loop {
            match body.poll_data(&mut now()) {
                Poll::Pending => break false,
                Poll::Ready(None) => break true,
                Poll::Ready(Some(data)) => {
                    let count = data?.len();
                    self.received += count;
                    body.flow_control().release_capacity(count)?;
                }
            }
        };
        if is_over {
            let expected = if self.is_grpc { PREFIX + CONTENT } else { CONTENT };
            ensure!(self.received == expected, "{} bytes came", self.received);
            if self.is_grpc {
                let trailers = body.poll_trailers(&mut now());
                let is_ok =
                    matches!(&trailers, Poll::Ready(Ok(Some(trailers))) if trailers["grpc-status"] == "0");
                ensure!(is_ok, "the call ended with {trailers:?}");
            }
            self.body = None;
        }
        self.drive()?;
        Ok(is_over)
    }
}

// === impl Server ===

impl Server {
    pub(super) fn new(wire: Wire, is_grpc: bool) -> Self {
        Self {
            is_grpc,
            connection: Connection::Opening(Box::new(server::handshake(wire))),
            calls: Vec::new(),
        }
    }
}

impl super::Server for Server {
    fn serve(&mut self) -> Result<()> {
        if let Connection::Opening(opening) = &mut self.connection {
            let Poll::Ready(opened) = Pin::new(opening).poll(&mut now()) else {
                return Ok(());
            };
            self.connection = Connection::Open(Box::new(opened?));
        }
        let Connection::Open(connection) = &mut self.connection else {
            return Ok(());
        };
        while let Poll::Ready(stream) = connection.poll_accept(&mut now()) {
            let (request, mut respond) = stream.context("the data plane ended a connection")??;
            if self.is_grpc {
                self.calls.push((request.into_body(), respond));
            } else {
                let mut body = respond.send_response(answer()?, false)?;
                body.send_data(Bytes::from_static(&[b'x'; CONTENT]), true)?;
            }
        }
        if !self.calls.is_empty() {
            for (mut message, respond) in std::mem::take(&mut self.calls) {
                if is_read(&mut message)? {
                    reply(respond)?;
                } else {
                    self.calls.push((message, respond));
                }
            }
            // Writes what was said.
            ensure!(
                connection.poll_accept(&mut now()).is_pending(),
                "calls came at once"
            );
        }
        Ok(())
    }
}

/// Reads a call's message; whether it came to its end.
fn is_read(message: &mut RecvStream) -> Result<bool> {
    while let Poll::Ready(data) = message.poll_data(&mut now()) {
        let Some(data) = data else { return Ok(true) };
        message.flow_control().release_capacity(data?.len())?;
    }
    Ok(message.is_end_stream())
}

/// Answers a call.
fn reply(mut respond: SendResponse<Bytes>) -> Result<()> {
    let head = Response::builder().header("content-type", "application/grpc");
    let mut body = respond.send_response(head.body(())?, false)?;
    body.send_data(message(CONTENT), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    body.send_trailers(trailers)?;
    Ok(())
}

/// A message of so many bytes.
fn message(length: usize) -> Bytes {
    let mut message = vec![b'x'; PREFIX + length];
    message[0] = 0;
    // Both lengths are far below 2^32.
    let length = u32::try_from(length).unwrap_or_default();
    message[1..PREFIX].copy_from_slice(&length.to_be_bytes());
    message.into()
}

fn request(is_grpc: bool) -> Result<Request<()>> {
    if is_grpc {
        let call = Request::post("http://recommendations.shop.svc.cluster.local/api.v2.Recommendations/For")
            .version(http::Version::HTTP_2)
            .header("content-type", "application/grpc")
            .header("user-agent", "grpc-go/1.66.0")
            .header("te", "trailers")
            .header("grpc-timeout", "4999m")
            .header("grpc-accept-encoding", "gzip");
        return Ok(call.body(())?);
    }
    let request = Request::get(
        "http://recommendations.shop.svc.cluster.local/api/v2/recommendations/for/4711?limit=20&page=2",
    )
    .version(http::Version::HTTP_2)
    .header("user-agent", "Go-http-client/2.0")
    .header("accept", "application/json")
    .header("accept-encoding", "gzip")
    .header(
        "traceparent",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    )
    .header(
        "authorization",
        "Bearer eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJzaG9wL2NsaWVudCJ9.c2lnbmF0dXJl",
    );
    Ok(request.body(())?)
}

fn answer() -> Result<Response<()>> {
    let answer = Response::builder()
        .header("server", "nginx/1.26.3")
        .header("date", "Sat, 21 Nov 2026 12:00:00 GMT")
        .header("content-type", "application/json")
        .header("content-length", CONTENT)
        .header("last-modified", "Fri, 20 Nov 2026 12:00:00 GMT")
        .header("etag", "\"6741c5a0-400\"")
        .header("accept-ranges", "bytes");
    Ok(answer.body(())?)
}

/// Whoever asks asks again.
fn now() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

// === impl Wire ===

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.0.read(buffer.initialize_unfilled());
        let count = ready!(poll(read))?;
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        poll(self.0.write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.shutdown(std::net::Shutdown::Write))
    }
}

fn poll<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match unless_waiting(result) {
        Ok(Some(value)) => Poll::Ready(Ok(value)),
        Ok(None) => Poll::Pending,
        Err(error) => Poll::Ready(Err(error)),
    }
}

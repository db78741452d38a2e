//! HTTP/2, by the library of that name, which is asked again and again and so needs nobody to wake it.

use std::io::{self, Read as _, Write as _};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bytes::Bytes;
use h2::RecvStream;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::server;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{CONTENT, Wire, unless_waiting};

pub(super) struct Client {
    connection: client::Connection<Wire>,
    send: SendRequest<Bytes>,
    head: Option<ResponseFuture>,
    body: Option<RecvStream>,
    received: usize,
}

pub(super) enum Server {
    Opening(Box<server::Handshake<Wire>>),
    Open(Box<server::Connection<Wire, Bytes>>),
}

// === impl Client ===

impl Client {
    pub(super) fn new(wire: Wire) -> Result<Self> {
        let Poll::Ready(opened) = pin!(client::handshake(wire)).poll(&mut now()) else {
            bail!("a connection does not take the first bytes of HTTP/2");
        };
        let (send, connection) = opened?;
        Ok(Self {
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
        let (head, _) = self.send.send_request(request()?, true)?;
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
            ensure!(self.received == CONTENT, "{} bytes came", self.received);
            self.body = None;
        }
        self.drive()?;
        Ok(is_over)
    }
}

// === impl Server ===

impl Server {
    pub(super) fn new(wire: Wire) -> Self {
        Self::Opening(Box::new(server::handshake(wire)))
    }
}

impl super::Server for Server {
    fn serve(&mut self) -> Result<()> {
        if let Self::Opening(opening) = self {
            let Poll::Ready(opened) = Pin::new(opening).poll(&mut now()) else {
                return Ok(());
            };
            *self = Self::Open(Box::new(opened?));
        }
        let Self::Open(connection) = self else {
            return Ok(());
        };
        while let Poll::Ready(stream) = connection.poll_accept(&mut now()) {
            let (_, mut respond) = stream.context("the data plane ended a connection")??;
            let mut body = respond.send_response(answer()?, false)?;
            body.send_data(Bytes::from_static(&[b'x'; CONTENT]), true)?;
        }
        Ok(())
    }
}

fn request() -> Result<Request<()>> {
    let request = Request::get(
        "http://recommendations.shop.svc.cluster.local/api/v2/recommendations/for/4711?limit=20&page=2",
    )
    .version(http::Version::HTTP_2)
    .header("user-agent", "grpc-go/1.66.0")
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

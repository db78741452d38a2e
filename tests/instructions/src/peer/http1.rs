//! HTTP/1.1: a request and an answer as programs in wide use send them.

use anyhow::{Context as _, Result, ensure};

use super::{CONTENT, Wire};

const REQUEST: &[u8] = b"GET /api/v2/recommendations/for/4711?limit=20&page=2 HTTP/1.1\r\n\
    Host: recommendations.shop.svc.cluster.local\r\n\
    User-Agent: Go-http-client/1.1\r\n\
    Accept: application/json\r\n\
    Accept-Encoding: gzip\r\n\
    Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\
    Authorization: Bearer eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJzaG9wL2NsaWVudCJ9.c2lnbmF0dXJl\r\n\
    \r\n";
const ANSWER: &str = "HTTP/1.1 200 OK\r\n\
    Server: nginx/1.26.3\r\n\
    Date: Sat, 21 Nov 2026 12:00:00 GMT\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 1024\r\n\
    Last-Modified: Fri, 20 Nov 2026 12:00:00 GMT\r\n\
    Connection: keep-alive\r\n\
    ETag: \"6741c5a0-400\"\r\n\
    Accept-Ranges: bytes\r\n\
    \r\n";
const END: &[u8] = b"\r\n\r\n";

pub(super) struct Client {
    wire: Wire,
    answer: Vec<u8>,
}

pub(super) struct Server {
    wire: Wire,
    request: Vec<u8>,
    answer: Vec<u8>,
}

// === impl Client ===

impl Client {
    pub(super) fn new(wire: Wire) -> Self {
        let answer = Vec::new();
        Self { wire, answer }
    }
}

impl super::Client for Client {
    fn ask(&mut self) -> Result<()> {
        self.answer.clear();
        self.wire.write(REQUEST)
    }

    fn is_answered(&mut self) -> Result<bool> {
        self.wire.read(&mut self.answer)?;
        let Some(head) = end_of_head(&self.answer) else {
            return Ok(false);
        };
        let is_ok = self.answer.starts_with(b"HTTP/1.1 200 ");
        ensure!(is_ok, "the answer is {}", String::from_utf8_lossy(&self.answer));
        Ok(self.answer.len() >= head + CONTENT)
    }
}

// === impl Server ===

impl Server {
    pub(super) fn new(wire: Wire) -> Self {
        let mut answer = ANSWER.as_bytes().to_vec();
        answer.extend_from_slice(&[b'x'; CONTENT]);
        Self {
            wire,
            request: Vec::new(),
            answer,
        }
    }
}

impl super::Server for Server {
    fn serve(&mut self) -> Result<()> {
        self.wire.read(&mut self.request)?;
        if let Some(end) = end_of_head(&self.request) {
            self.request.drain(..end);
            self.wire
                .write(&self.answer)
                .context("the answer was not taken")?;
        }
        Ok(())
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let start = bytes.windows(END.len()).position(|window| window == END)?;
    Some(start + END.len())
}

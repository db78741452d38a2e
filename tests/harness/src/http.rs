//! A GET over HTTP/1.1, enough for the admin, metrics and readiness endpoints.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::netns::Netns;

/// The endpoints answer from memory; a second is already a defect.
const DEADLINE: Duration = Duration::from_secs(5);

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Asks from inside a network namespace.
pub fn get(netns: &Netns, at: SocketAddr, path: &str) -> Result<Response> {
    netns
        .enter(|| -> Result<Response> {
            let mut stream = TcpStream::connect_timeout(&at, DEADLINE)?;
            stream.set_read_timeout(Some(DEADLINE))?;
            stream.set_write_timeout(Some(DEADLINE))?;
            write!(
                stream,
                "GET {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\naccept: */*\r\n\r\n"
            )?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes)?;
            parse(&bytes)
        })?
        .with_context(|| format!("GET http://{at}{path} in {}", netns.name()))
}

fn parse(bytes: &[u8]) -> Result<Response> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .context("the answer has no end of its head")?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .context("the answer has no status")?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(body)? } else { body.to_owned() };
    Ok(Response { status, body })
}

fn unchunk(mut rest: &str) -> Result<String> {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n").context("a chunk without a size")?;
        let size = usize::from_str_radix(size.trim(), 16).with_context(|| format!("chunk size {size:?}"))?;
        if size == 0 {
            return Ok(body);
        }
        let Some((chunk, next)) = after.split_at_checked(size) else {
            bail!("a chunk is cut short")
        };
        body.push_str(chunk);
        rest = next.strip_prefix("\r\n").context("a chunk without an end")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_plain_and_chunked_bodies() {
        let plain = parse(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
        assert_eq!((plain.status, plain.body.as_str()), (200, "ok"));
        let chunked =
            parse(b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n")
                .unwrap();
        assert_eq!((chunked.status, chunked.body.as_str()), (503, "abcd"));
    }

    #[test]
    fn refuses_a_chunk_that_is_cut_short() {
        assert!(parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabc").is_err());
    }
}

//! Bytes of HTTP/1 on a socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use mesh_e2e::traffic::connect;

use crate::lab::{ADDRESS, HTTP1, Lab, Wanted};
use crate::table::{Case1, End};

/// What a client reads.
struct Reader {
    stream: TcpStream,
    bytes: Vec<u8>,
}

/// An answer: its status, and whether a mesh's node made it.
struct Answer {
    status: u16,
    is_ours: bool,
}

/// Sends a case, and compares.
pub(crate) fn check(lab: &Lab, case: &Case1) -> Result<()> {
    let before = lab.got()?.len();
    let to = SocketAddr::new(ADDRESS.parse()?, HTTP1);
    let stream = connect(&lab.client, to);
    let mut writer = stream.try_clone()?;
    let bytes = case.bytes();
    // What is refused is not read to its end: the client reads while it sends.
    let sending = thread::spawn(move || {
        drop(writer.write_all(&bytes));
        writer
    });
    let mut reader = Reader {
        stream,
        bytes: Vec::new(),
    };
    let mut answers = Vec::new();
    for _ in &case.answers {
        let answer = reader.answer(case.send.starts_with("HEAD"));
        answers.push(answer.with_context(|| format!("wanted {:?}", case.answers))?);
    }
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    ensure!(
        statuses == case.answers,
        "wanted {:?}, got {statuses:?}",
        case.answers
    );
    let is_named = |answer: &Answer| answer.is_ours == (answer.status >= 400);
    ensure!(
        answers.iter().all(is_named),
        "x-mesh-error is not where it belongs"
    );
    let mut writer = sending.join().ok().context("the sender failed")?;
    if case.end() == End::Open {
        writer.write_all(b"GET /probe HTTP/1.1\r\nHost: web.shop\r\n\r\n")?;
        let probe = reader.answer(false).context("the connection does not serve on")?;
        ensure!(
            probe.status == 200,
            "the connection serves on with {}",
            probe.status
        );
    } else {
        reader.end()?;
    }
    let got = lab.got_since(before, case.seen.len())?;
    let wanted = Wanted {
        seen: &case.seen,
        bodies: &case.bodies,
        has: &case.has,
        lacks: &case.lacks,
        broken: case.broken,
    };
    wanted.check(&got)?;
    match &case.cause {
        Some(cause) => lab.wait_refusal(cause),
        None => Ok(()),
    }
}

impl Reader {
    fn more(&mut self) -> Result<bool> {
        let mut buffer = [0; 16_384];
        let count = self.stream.read(&mut buffer)?;
        self.bytes
            .extend_from_slice(buffer.get(..count).unwrap_or_default());
        Ok(count > 0)
    }

    /// The next answer, with its content taken.
    fn answer(&mut self, is_head: bool) -> Result<Answer> {
        let end = loop {
            if let Some(at) = self.bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more()? {
                bail!(
                    "the connection ended after {:?}",
                    String::from_utf8_lossy(&self.bytes)
                );
            }
        };
        let head: Vec<u8> = self.bytes.drain(..end).collect();
        let head = String::from_utf8(head)?.to_ascii_lowercase();
        let status = head.split(' ').nth(1).context("a status")?.parse()?;
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        let length: usize = field("content-length: ").map_or(Ok(0), str::parse)?;
        let is_ours = field("x-mesh-error: ").is_some();
        if !is_head {
            while self.bytes.len() < length {
                ensure!(self.more()?, "the answer broke off");
            }
            self.bytes.drain(..length);
        }
        Ok(Answer { status, is_ours })
    }

    /// The connection's end, and nothing before it.
    fn end(&mut self) -> Result<()> {
        ensure!(
            self.bytes.is_empty(),
            "more than was wanted: {:?}",
            String::from_utf8_lossy(&self.bytes)
        );
        match self.stream.read(&mut [0; 1]) {
            Ok(0) => Ok(()),
            Ok(_) => bail!("more than was wanted"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => bail!("the connection was not ended"),
            Err(error) => bail!("the connection was broken off: {error}"),
        }
    }
}

//! The client: rounds of the same length, each checked byte for byte.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::time::duration;

/// How long a connection, a write or a read may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// What is sent before it is read back: less than any socket buffer, so that neither side waits for the other.
const CHUNK: usize = 16 * 1024;

/// Whom to call, and how often.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Address and port, or name and port
    address: String,
    /// How many rounds
    #[arg(long, default_value_t = 10, conflicts_with = "forever")]
    count: u64,
    /// Go on until killed, failed rounds included
    #[arg(long)]
    forever: bool,
    /// Pause between rounds: 500ms, 2s
    #[arg(long, default_value = "500ms", value_parser = duration)]
    interval: Duration,
    /// Bytes a round
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// One connection for all rounds, instead of one each
    #[arg(long)]
    keep_alive: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut connection = None;
    let mut failed = 0u64;
    let mut number = 0u64;
    while arguments.forever || number < arguments.count {
        if number > 0 {
            thread::sleep(arguments.interval);
        }
        number += 1;
        let start = Instant::now();
        match round(arguments, number, &mut connection) {
            Ok(()) => println!("{number}: {} bytes, {:.1?}", arguments.size, start.elapsed()),
            Err(error) => {
                failed += 1;
                connection = None;
                println!("{number}: FAILED: {error:#}");
            }
        }
        if !arguments.keep_alive {
            connection = None;
        }
    }
    ensure!(failed == 0, "{failed} of {number} rounds failed");
    Ok(())
}

fn round(arguments: &Arguments, number: u64, connection: &mut Option<TcpStream>) -> Result<()> {
    let stream = match connection {
        Some(stream) => stream,
        None => connection.insert(connect(&arguments.address)?),
    };
    let mut back = [0; CHUNK];
    let mut sent = 0;
    while sent < arguments.size {
        let question = pattern(number, sent, CHUNK.min(arguments.size - sent));
        stream
            .write_all(&question)
            .with_context(|| format!("writing at byte {sent}"))?;
        let answer = back
            .get_mut(..question.len())
            .context("a chunk fits its buffer")?;
        stream
            .read_exact(answer)
            .with_context(|| format!("reading at byte {sent}"))?;
        ensure!(*answer == *question, "other bytes came back, from byte {sent} on");
        sent += question.len();
    }
    Ok(())
}

fn connect(address: &str) -> Result<TcpStream> {
    let mut last = None;
    for candidate in address
        .to_socket_addrs()
        .with_context(|| format!("{address} is no address and port"))?
    {
        match TcpStream::connect_timeout(&candidate, DEADLINE) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(DEADLINE))?;
                stream.set_write_timeout(Some(DEADLINE))?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error).with_context(|| format!("cannot connect to {address}")),
        None => bail!("{address} has no address"),
    }
}

/// Text that differs between rounds and positions, so that bytes that are lost, doubled or stale show.
fn pattern(round: u64, start: usize, length: usize) -> Vec<u8> {
    let shift = usize::try_from(round % 26).unwrap_or_default();
    (start..start + length)
        .map(|at| {
            if at % 64 == 63 {
                b'\n'
            } else {
                b'a' + u8::try_from((at + at / 64 + shift) % 26).unwrap_or_default()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::*;
    use crate::serve;

    fn call(address: SocketAddr, count: u64, size: usize, keep_alive: bool) -> Result<()> {
        run(&Arguments {
            address: address.to_string(),
            count,
            forever: false,
            interval: Duration::ZERO,
            size,
            keep_alive,
        })
    }

    #[test]
    fn checks_the_echo_on_new_and_kept_connections() {
        let address = serve::tests::start(None);
        call(address, 5, 100_000, false).unwrap();
        call(address, 5, 100_000, true).unwrap();
    }

    #[test]
    fn fails_when_other_bytes_come_back() {
        let error = call(serve::tests::start(Some("x")), 2, 64, false)
            .unwrap_err()
            .to_string();
        assert_eq!(error, "2 of 2 rounds failed");
    }

    #[test]
    fn fails_when_nobody_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert!(call(address, 1, 64, false).is_err());
    }

    #[test]
    fn rounds_differ() {
        assert_ne!(pattern(1, 0, 64), pattern(2, 0, 64));
        assert_ne!(pattern(1, 0, 64), pattern(1, 64, 64));
    }
}

//! The service: every byte goes back as it came, or every line with the service's name in front.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Connections at once, each a thread; more are closed at once. Far above what the demo opens.
const MAX_CONNECTIONS: usize = 1024;
/// A thread's stack: the buffer below and a few frames.
const STACK: usize = 128 * 1024;
/// What is read at once.
const BUFFER: usize = 16 * 1024;
/// The longest line with --prefix; a longer one ends the connection.
const MAX_LINE: u64 = 64 * 1024;
/// A client that neither sends nor reads for as long is let go.
const IDLE: Duration = Duration::from_mins(10);
/// Pause after accept() failed, for want of descriptors most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where to listen, and what to answer.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Address and port to listen on; [::] takes IPv4 too
    #[arg(long)]
    listen: SocketAddr,
    /// The service's name, for --prefix and for the log
    #[arg(long, default_value = "echo")]
    name: String,
    /// Answer each line with "NAME: line" instead of the same bytes
    #[arg(long)]
    prefix: bool,
}

/// Counts a connection while it exists.
struct Slot(Arc<AtomicUsize>);

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let listener = TcpListener::bind(arguments.listen)
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    println!("{} listens on {}", arguments.name, listener.local_addr()?);
    accept(&listener, arguments.prefix.then(|| arguments.name.clone()));
    Ok(())
}

/// Serves until the process ends.
fn accept(listener: &TcpListener, prefix: Option<String>) {
    let prefix = prefix.map(Arc::<str>::from);
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let started = stream.and_then(|stream| {
            // Dropping the stream closes it: a clear answer to one too many.
            let Some(slot) = Slot::take(&open) else {
                return Ok(());
            };
            let prefix = prefix.clone();
            let work = move || {
                let outcome = serve(&stream, prefix.as_deref());
                if let Err(error) = outcome {
                    eprintln!("a connection ended: {error}");
                }
                drop(slot);
            };
            thread::Builder::new().stack_size(STACK).spawn(work).map(drop)
        });
        if let Err(error) = started {
            eprintln!("cannot accept: {error}");
            thread::sleep(ACCEPT_PAUSE);
        }
    }
}

fn serve(stream: &TcpStream, prefix: Option<&str>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))?;
    match prefix {
        Some(name) => answer_lines(stream, name)?,
        None => echo(stream)?,
    }
    match stream.shutdown(Shutdown::Write) {
        Err(error) if error.kind() != ErrorKind::NotConnected => Err(error),
        _ => Ok(()),
    }
}

fn echo(mut stream: &TcpStream) -> io::Result<()> {
    let mut buffer = [0; BUFFER];
    loop {
        let length = stream.read(&mut buffer)?;
        match buffer.get(..length) {
            None | Some([]) => return Ok(()),
            Some(bytes) => stream.write_all(bytes)?,
        }
    }
}

fn answer_lines(mut stream: &TcpStream, name: &str) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(BUFFER, stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        if line.len() as u64 == MAX_LINE && !line.ends_with(b"\n") {
            return Err(io::Error::new(ErrorKind::InvalidData, "a line is too long"));
        }
        let mut answer = format!("{name}: ").into_bytes();
        answer.extend_from_slice(&line);
        stream.write_all(&answer)?;
    }
}

impl Slot {
    fn take(open: &Arc<AtomicUsize>) -> Option<Self> {
        let slot = Self(Arc::clone(open));
        // On refusal the slot's drop takes the count back.
        (open.fetch_add(1, Ordering::AcqRel) < MAX_CONNECTIONS).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A service on the loopback for the rest of the test process.
    pub(crate) fn start(prefix: Option<&str>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let prefix = prefix.map(str::to_owned);
        thread::spawn(move || accept(&listener, prefix));
        address
    }

    fn ask(address: SocketAddr, question: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(question).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    }

    #[test]
    fn sends_every_byte_back_after_a_half_close() {
        let question: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let address = start(None);
        assert_eq!(ask(address, &question), question);
    }

    #[test]
    fn answers_lines_with_its_name() {
        assert_eq!(
            ask(start(Some("web")), b"one\ntwo\nrest"),
            b"web: one\nweb: two\nweb: rest"
        );
    }

    #[test]
    fn takes_no_more_than_its_bound() {
        let open = Arc::new(AtomicUsize::new(MAX_CONNECTIONS - 1));
        let last = Slot::take(&open);
        assert!(last.is_some());
        assert!(Slot::take(&open).is_none());
        drop(last);
        assert!(Slot::take(&open).is_some());
    }
}

//! Clients and servers of one connection, for tests: they fail the test rather than return an error.

#![expect(clippy::unwrap_used, reason = "in a test, a failure's place is what matters")]

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use mesh_harness::{Process, Workload, until};
use nix::sys::socket::{setsockopt, sockopt};

use crate::{LONG, MOMENT};

/// An address and port, written as in a URL.
pub fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// What curl gets.
pub fn curl(from: &Workload, url: &str) -> String {
    from.place
        .run("curl", &["-sS", "--max-time", "5", url], MOMENT)
        .unwrap()
        .text()
}

/// A connection from a workload, which must come about.
pub fn connect(from: &Workload, to: SocketAddr) -> TcpStream {
    let stream = from.place.connect(to, MOMENT).unwrap().unwrap();
    stream.set_read_timeout(Some(MOMENT)).unwrap();
    stream.set_write_timeout(Some(MOMENT)).unwrap();
    stream
}

/// A listener at all addresses of a workload, of both families.
pub fn listen(at: &Workload, port: u16) -> TcpListener {
    at.place
        .listen(SocketAddr::new("::".parse().unwrap(), port))
        .unwrap()
}

/// The next connection, and where it came from; an IPv4 address as such.
pub fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    listener.set_nonblocking(true).unwrap();
    let accepted = until("a connection to arrive", MOMENT, || match listener.accept() {
        Ok(accepted) => Ok(Some(accepted)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    });
    let (stream, peer) = accepted.unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(MOMENT)).unwrap();
    stream.set_write_timeout(Some(MOMENT)).unwrap();
    (stream, SocketAddr::new(peer.ip().to_canonical(), peer.port()))
}

/// Everything that comes until the end, or how it ended instead.
pub fn outcome(stream: &mut TcpStream) -> Result<Vec<u8>, ErrorKind> {
    stream.set_read_timeout(Some(MOMENT)).unwrap();
    let mut bytes = Vec::new();
    stream
        .read_to_end(&mut bytes)
        .map(|_| bytes)
        .map_err(|error| error.kind())
}

/// Ends a connection with a reset: RFC 9293 §3.10.5 with SO_LINGER of 0 s (socket(7)).
pub fn reset(stream: TcpStream) {
    setsockopt(
        &stream,
        sockopt::Linger,
        &libc::linger {
            l_onoff: 1,
            l_linger: 0,
        },
    )
    .unwrap();
    drop(stream);
}

/// A `mesh-probe` that goes on until it is told to end.
#[derive(Debug)]
pub struct Probe {
    process: Process,
    go: PathBuf,
}

impl Probe {
    /// Starts the binary with these arguments as a workload.
    pub fn start(binary: &str, from: &Workload, arguments: &[&str]) -> Self {
        let log = format!("probe-{}", arguments.join("-").replace([':', '/', '[', ']'], "_"));
        let program = from.place.program_at(&log, Path::new(binary)).args(arguments);
        let go = std::env::temp_dir().join(format!("nodemesh-probe-{}-{log}", std::process::id()));
        let process = program.env("MESH_PROBE_GO", go.as_os_str()).spawn().unwrap();
        Self { process, go }
    }

    /// Waits for a line of its output.
    pub fn wait_line(&mut self, parts: &[&str]) -> String {
        self.process.wait_log(parts, LONG * 2).unwrap()
    }

    /// Tells it to end, and gives what it said; it must have succeeded.
    pub fn finish(mut self) -> String {
        std::fs::write(&self.go, "").unwrap();
        let status = self.process.wait(LONG).unwrap();
        assert!(status.success(), "the probe: {status}: {}", self.process.log());
        self.process.log()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _absent = std::fs::remove_file(&self.go);
    }
}

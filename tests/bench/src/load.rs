//! Programs that make load, none of them ours where another's will do, and what they said of it.
//!
//! Each refuses what is not the answer that was asked for: a status that is not 200, a socket error, silence, too few
//! bytes.

pub mod curl;
pub mod h2load;
pub mod handshakes;
pub mod hold;
pub mod iperf;
pub mod oha;
pub mod wrk;

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mesh_harness::{Place, Program};

use crate::plan::Size;

pub use handshakes::Credentials;

/// A load program ends this much after its time, or is killed.
const GRACE: Duration = Duration::from_secs(15);
/// The path of the gRPC server's only call.
pub const CALL: &str = "/bench.Bytes/Get";

/// What is done to a target.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// HTTP/1.1 requests in a closed loop, by wrk.
    Http1 {
        /// How large the answers are.
        size: Size,
        /// Whether each request gets a connection of its own.
        closing: bool,
    },
    /// HTTP/2 requests in a closed loop, by h2load.
    Http2 {
        /// How large the answers are.
        size: Size,
        /// Requests at once on each connection.
        streams: u32,
    },
    /// Unary calls of gRPC in a closed loop, by h2load.
    Grpc {
        /// How large the answers are.
        size: Size,
        /// Calls at once on each connection.
        streams: u32,
    },
    /// As many bytes as will pass, by iperf3.
    Bulk {
        /// From the server to the client.
        down: bool,
    },
    /// Full TLS handshakes in a closed loop, by our own tool on rustls.
    Handshakes(Credentials),
    /// HTTP/1.1 requests at a fixed rate, by oha: latency counts from when a request was due.
    OpenLoop {
        /// How large the answers are.
        size: Size,
        /// Requests a second.
        rate: f64,
    },
}

/// One load.
#[derive(Debug, Clone)]
pub struct Load {
    /// What it does.
    pub kind: Kind,
    /// Where it runs.
    pub from: Place,
    /// Where it goes.
    pub target: SocketAddr,
    /// How many connections.
    pub connections: u32,
    /// A folder for the files of the programs.
    pub folder: PathBuf,
    /// oha's program, where the open loop is wanted.
    pub oha: Option<PathBuf>,
}

/// What a load did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// Requests, or what else the load counts.
    pub count: f64,
    /// How many of them a second.
    pub rate: f64,
    /// Latencies in microseconds by the name of the percentile (`p50`), or `mean`.
    pub latencies: Vec<(&'static str, f64)>,
}

/// A load program did all its work and did not end: its own fault, and to be measured again.
#[derive(Debug, Clone, Copy)]
pub struct Stuck;

// === impl Stuck ===

impl fmt::Display for Stuck {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("h2load stopped all its clients and did not end, several times: try again")
    }
}

impl std::error::Error for Stuck {}

// === impl Load ===

impl Load {
    /// Whether one request is answered as it should be; waits until it is.
    pub fn check(&self) -> Result<()> {
        match &self.kind {
            Kind::Http1 { size, .. } | Kind::OpenLoop { size, .. } => {
                curl::check(self, &curl::Asked::http1(*size))
            }
            Kind::Http2 { size, .. } => curl::check(self, &curl::Asked::http2(*size)),
            Kind::Grpc { size, .. } => curl::check(self, &curl::Asked::grpc(self, *size)?),
            Kind::Bulk { .. } => iperf::check(self),
            Kind::Handshakes(_) => Ok(()), // each of them is checked
        }
    }

    /// Makes the load for so long.
    pub fn run(&self, seconds: u32) -> Result<Outcome> {
        let finished = self.program(seconds)?.run(Self::deadline(seconds))?;
        if h2load::is_stuck(&finished) {
            return Err(Stuck.into());
        }
        let text = finished.success()?.text();
        let outcome = match &self.kind {
            Kind::Http1 { size, .. } => wrk::read(&text, *size),
            Kind::Http2 { size, .. } => h2load::read(self, &text, size.bytes()),
            Kind::Grpc { size, .. } => h2load::read(self, &text, size.bytes() + GRPC_HEAD),
            Kind::Bulk { .. } => iperf::read(&text),
            Kind::Handshakes(_) => handshakes::read(&text),
            Kind::OpenLoop { rate, .. } => oha::read(&text, *rate),
        };
        let outcome = outcome.with_context(|| self.command(seconds))?;
        ensure!(
            outcome.count > 0.0,
            "nothing was answered within {seconds} s: {}",
            self.command(seconds)
        );
        Ok(outcome)
    }

    fn program(&self, seconds: u32) -> Result<Program> {
        let (name, arguments) = self.words(seconds);
        let program = match &self.kind {
            Kind::Handshakes(_) => self.from.program_at(name, &tool()?),
            Kind::OpenLoop { .. } => {
                let oha = self.oha.as_ref().context("the open loop wants oha")?;
                self.from.program_at(name, oha)
            }
            _ => self.from.program(name)?,
        };
        let program = program.args(arguments);
        Ok(match &self.kind {
            Kind::Http1 { .. } => wrk::prepare(self, program)?,
            Kind::Http2 { .. } | Kind::Grpc { .. } => h2load::prepare(self, program)?,
            _ => program,
        })
    }

    /// The program and its arguments, but for those that only shape its report.
    fn words(&self, seconds: u32) -> (&'static str, Vec<String>) {
        match &self.kind {
            Kind::Http1 { size, closing } => ("wrk", wrk::arguments(self, *size, *closing, seconds)),
            Kind::Http2 { size, streams } => {
                let url = self.url(*size);
                ("h2load", h2load::arguments(self, *streams, seconds, &[url]))
            }
            Kind::Grpc { size, streams } => {
                let more = h2load::call(self, *size);
                ("h2load", h2load::arguments(self, *streams, seconds, &more))
            }
            Kind::Bulk { down } => ("iperf3", iperf::arguments(self, *down, seconds)),
            Kind::Handshakes(credentials) => (
                "mesh-bench-tool",
                handshakes::arguments(self, credentials, seconds),
            ),
            Kind::OpenLoop { size, rate } => ("oha", oha::arguments(self, *size, *rate, seconds)),
        }
    }

    /// The command, for people.
    pub fn command(&self, seconds: u32) -> String {
        let (program, arguments) = self.words(seconds);
        let command = format!("{program} {}", arguments.join(" "));
        // Names of temporary folders say nothing.
        let folders = self.folder.ancestors().take(2);
        folders.fold(command, |command, folder| {
            command.replace(&format!("{}/", folder.display()), "")
        })
    }

    fn deadline(seconds: u32) -> Duration {
        Duration::from_secs(u64::from(seconds)) + GRACE
    }

    fn url(&self, size: Size) -> String {
        format!("http://{}{}", self.target, path_of(size))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes the request of a call: a head of five bytes (gRPC over HTTP/2: no compression, the length), and how many
    /// bytes the answer should have.
    fn write_call(&self, size: Size) -> Result<PathBuf> {
        let text = size.bytes().to_string();
        let mut message = vec![0];
        message.extend(u32::try_from(text.len())?.to_be_bytes());
        message.extend(text.as_bytes());
        let path = self.file(&call_file(size));
        fs::write(&path, message).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

/// Whether answers were as long as they should be. A few may be under way when the time is over.
fn ensure_length(count: f64, bytes: f64, length: usize) -> Result<()> {
    let length = f64::from(u32::try_from(length)?);
    ensure!(
        bytes >= count * length,
        "{count} answers of {length} bytes should be more than {bytes} bytes: they were not what was asked for"
    );
    Ok(())
}

/// A message's head in gRPC: whether it is compressed, and its length.
const GRPC_HEAD: usize = 5;

fn call_file(size: Size) -> String {
    format!("call-{}.bin", size.bytes())
}

/// Where a server has the answer of a size.
pub fn path_of(size: Size) -> String {
    format!("/files/{}", size.bytes())
}

/// The file of a server's answer below the folder of its files.
pub fn file_of(folder: &Path, size: Size) -> PathBuf {
    folder.join(path_of(size).trim_start_matches('/'))
}

/// Our own program for what no other does: it is built with the bench, and lies beside it.
pub fn tool() -> Result<PathBuf> {
    let own = std::env::current_exe().context("find the bench's own program")?;
    let tool = own.with_file_name("mesh-bench-tool");
    ensure!(
        tool.is_file(),
        "{} is missing: call the bench by `cargo xtask bench`, which builds it",
        tool.display()
    );
    Ok(tool)
}

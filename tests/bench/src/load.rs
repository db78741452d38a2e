//! Programs that make load, none of them ours where another's will do, and what they said of it.
//!
//! Each refuses what is not the answer that was asked for: a status that is not 200, a socket error, silence.

pub mod curl;
pub mod h2load;
pub mod wrk;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use mesh_harness::Place;

use crate::plan::Size;

/// A load program ends this much after its time, or is killed.
const GRACE: Duration = Duration::from_secs(30);

/// What is done to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
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

// === impl Load ===

impl Load {
    /// Whether one request is answered as it should be.
    pub fn check(&self) -> Result<()> {
        match self.kind {
            Kind::Http1 { size, .. } => curl::check(self, size, false),
            Kind::Http2 { size, .. } => curl::check(self, size, true),
        }
    }

    /// Makes the load for so long.
    pub fn run(&self, seconds: u32) -> Result<Outcome> {
        let outcome = match self.kind {
            Kind::Http1 { size, closing } => wrk::run(self, size, closing, seconds)?,
            Kind::Http2 { size, streams } => h2load::run(self, size, streams, seconds)?,
        };
        ensure!(
            outcome.count > 0.0,
            "nothing was answered within {seconds} s: {}",
            self.command(seconds)
        );
        Ok(outcome)
    }

    /// The command, for people.
    pub fn command(&self, seconds: u32) -> String {
        let (program, arguments) = match self.kind {
            Kind::Http1 { size, closing } => ("wrk", wrk::arguments(self, size, closing, seconds)),
            Kind::Http2 { size, streams } => ("h2load", h2load::arguments(self, size, streams, seconds)),
        };
        format!("{program} {}", arguments.join(" "))
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
}

/// Where a server has the answer of a size.
pub fn path_of(size: Size) -> String {
    format!("/files/{}", size.bytes())
}

/// The file of a server's answer below the folder of its files.
pub fn file_of(folder: &Path, size: Size) -> PathBuf {
    folder.join(path_of(size).trim_start_matches('/'))
}

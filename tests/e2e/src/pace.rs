//! Requests at a fixed rate, whatever becomes of them, made by h2load (nghttp2): when answers are late, requests are
//! not, up to as many as it may have under way.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use mesh_harness::{Process, Workload, binaries};

use crate::LONG;

/// What is asked, and how fast.
#[derive(Debug, Clone)]
#[must_use]
pub struct Pace {
    target: SocketAddr,
    /// Connections.
    clients: u32,
    /// Requests a second, of each connection.
    rate: u32,
    /// Requests in all.
    requests: u32,
    /// Over HTTP/1.1 instead of HTTP/2.
    is_http1: bool,
    post: Option<&'static str>,
    headers: Vec<String>,
}

/// A load under way.
#[derive(Debug)]
pub struct Load {
    process: Process,
    log: PathBuf,
    requests: u32,
}

/// What became of it.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Answers by status; 0: there was none.
    pub statuses: BTreeMap<u16, u64>,
    /// Latencies in microseconds, the fastest first.
    pub latencies: Vec<u64>,
}

// === impl Pace ===

impl Pace {
    /// Over HTTP/2 and one connection; each request has a target of its own, `/NAME-NUMBER`.
    pub fn http2(target: SocketAddr, rate: u32, requests: u32) -> Self {
        Self {
            target,
            clients: 1,
            rate,
            requests,
            is_http1: false,
            post: None,
            headers: Vec::new(),
        }
    }

    /// Over HTTP/1.1 and so many connections, each of which asks at this rate.
    pub fn http1(target: SocketAddr, clients: u32, rate: u32, requests: u32) -> Self {
        Self {
            clients,
            is_http1: true,
            ..Self::http2(target, rate, requests)
        }
    }

    /// POSTs with this body.
    pub fn post(mut self, body: &'static str) -> Self {
        self.post = Some(body);
        self
    }

    /// A header of every request, as `name: value`.
    pub fn header(mut self, header: &str) -> Self {
        self.headers.push(header.to_owned());
        self
    }

    /// Begins; `name` tells this load's files and targets from others'.
    pub fn start(&self, from: &Workload, folder: &std::path::Path, name: &str) -> Result<Load> {
        let log = folder.join(format!("h2load-{name}.tsv"));
        let targets = folder.join(format!("h2load-{name}.txt"));
        let targets_of = (0..self.requests).map(|number| format!("http://{}/{name}-{number}", self.target));
        let all: Vec<String> = targets_of.collect();
        fs::write(&targets, all.join("\n")).with_context(|| format!("write {}", targets.display()))?;
        let name = format!("h2load-{name}");
        let mut program = from.place.program_at(&name, &binaries::theirs("h2load")?);
        program = program.args([
            format!("--clients={}", self.clients),
            format!("--requests={}", self.requests),
            format!("--rps={}", self.rate),
            format!("--log-file={}", log.display()),
            format!("--input-file={}", targets.display()),
            "--threads=1".to_owned(),
        ]);
        program = if self.is_http1 {
            program.arg("--h1")
        } else {
            program.arg("--max-concurrent-streams=1000")
        };
        if let Some(body) = self.post {
            let file = folder.join(format!("{name}.body"));
            fs::write(&file, body).with_context(|| format!("write {}", file.display()))?;
            program = program.arg(format!("--data={}", file.display()));
        }
        for header in &self.headers {
            program = program.args(["-H", header]);
        }
        Ok(Load {
            process: program.spawn()?,
            log,
            requests: self.requests,
        })
    }

    /// From the first request to the last answer.
    pub fn run(&self, from: &Workload, folder: &std::path::Path, name: &str) -> Result<Outcome> {
        self.start(from, folder, name)?.finish()
    }
}

// === impl Load ===

impl Load {
    /// Whether it goes on.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Result<Outcome> {
        self.process.wait(LONG * 3)?;
        let text = fs::read_to_string(&self.log)
            .with_context(|| format!("{}: {}", self.log.display(), self.process.log_tail()))?;
        let mut outcome = Outcome::default();
        for line in text.lines() {
            // "start-in-microseconds TAB status TAB microseconds"; -1 is no answer.
            let words: Vec<&str> = line.split('\t').collect();
            let [_, status, latency, ..] = words.as_slice() else {
                bail!("no line of h2load's log: {line}");
            };
            *outcome.statuses.entry(status.parse().unwrap_or(0)).or_default() += 1;
            outcome.latencies.push(latency.parse()?);
        }
        outcome.latencies.sort_unstable();
        let missing = u64::from(self.requests).saturating_sub(outcome.all());
        if missing > 0 {
            *outcome.statuses.entry(0).or_default() += missing;
        }
        Ok(outcome)
    }
}

// === impl Outcome ===

impl Outcome {
    /// How many requests there were.
    pub fn all(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// How many had this status.
    pub fn of(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or_default()
    }

    /// How many were not answered 200.
    pub fn bad(&self) -> u64 {
        self.all() - self.of(200)
    }

    /// The latency that so many in a thousand stay below, in milliseconds.
    pub fn milliseconds(&self, per_mille: usize) -> f64 {
        let place = self.latencies.len() * per_mille / 1000;
        let latency = self.latencies.get(place).or_else(|| self.latencies.last());
        latency.map_or(0.0, |latency| {
            std::time::Duration::from_micros(*latency).as_secs_f64() * 1e3
        })
    }
}

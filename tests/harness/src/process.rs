//! Child processes with captured output and a deadline on every wait.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::wait;

/// How long a killed process may take to be reaped: closing 10,000 sockets takes a second.
const REAPING: Duration = Duration::from_secs(20);
/// How much of a log an error quotes.
const QUOTED_LINES: usize = 40;

/// A running program. Killed and reaped when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// What became of a program that was waited for.
#[derive(Debug)]
pub struct Finished {
    /// The command line, for messages.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: String,
}

impl Process {
    pub(crate) fn new(name: &str, child: Child, log: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            child,
            log,
        }
    }

    /// The name that it was started under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it and earlier processes of this log wrote to standard output and error.
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The file of [`Self::log`].
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// The last lines of the log.
    pub fn log_tail(&self) -> String {
        tail(&self.log(), QUOTED_LINES)
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        signal::kill(self.pid()?, signal).with_context(|| format!("send {signal} to {}", self.name))
    }

    /// Waits for its end.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        wait::until(&what, deadline, || Ok(self.child.try_wait()?))
            .with_context(|| format!("the last of its log:\n{}", self.log_tail()))
    }

    /// SIGTERM, and the status it ends with.
    pub fn stop(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(deadline)
    }

    /// SIGKILL, and its reaping.
    pub fn kill(&mut self) -> Result<()> {
        if self.is_running() {
            self.signal(Signal::SIGKILL)?;
        }
        self.wait(REAPING).map(drop)
    }

    /// Waits until the log has a line with every one of `parts`; gives the line. An error if the process ends first.
    pub fn wait_log(&mut self, parts: &[&str], deadline: Duration) -> Result<String> {
        let what = format!("a line with {parts:?} in the log of {}", self.name);
        wait::until(&what, deadline, || {
            let running = self.is_running();
            let log = self.log();
            let found = log
                .lines()
                .find(|line| parts.iter().all(|part| line.contains(part)));
            match found {
                Some(line) => Ok(Some(line.to_owned())),
                None if running => Ok(None),
                None => bail!("{} ended without it", self.name),
            }
        })
        .with_context(|| format!("the last of its log:\n{}", self.log_tail()))
    }

    /// Its resident memory in bytes: VmRSS of /proc/PID/status (proc_pid_status(5)).
    pub fn resident_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.id());
        let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let kib: u64 = status
            .lines()
            .find_map(|line| {
                line.strip_prefix("VmRSS:")?
                    .trim()
                    .strip_suffix(" kB")?
                    .parse()
                    .ok()
            })
            .with_context(|| format!("no VmRSS in {path}: the process has ended"))?;
        Ok(kib * 1024)
    }

    /// The most resident memory that it ever had, in bytes, and how many threads it has now: VmHWM and Threads of
    /// /proc/PID/status.
    pub fn peak_bytes_and_threads(&self) -> Result<(u64, u64)> {
        let path = format!("/proc/{}/status", self.id());
        let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let number = |key: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.trim().trim_end_matches(" kB").parse().ok()
        };
        let peak = number("VmHWM:").with_context(|| format!("no VmHWM in {path}: the process has ended"))?;
        let threads = number("Threads:").with_context(|| format!("no Threads in {path}"))?;
        Ok((peak * 1024, threads))
    }

    /// How many files it has open.
    pub fn open_files(&self) -> Result<usize> {
        let path = format!("/proc/{}/fd", self.id());
        Ok(fs::read_dir(&path)
            .with_context(|| format!("read {path}"))?
            .count())
    }

    fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(
            i32::try_from(self.child.id()).context("a process id past i32")?,
        ))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("harness: {error:#}");
        }
    }
}

impl Finished {
    /// Standard output as text, without the last line's end.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }

    /// The exit code; none after a signal.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// An error with all output unless the program succeeded.
    pub fn success(self) -> Result<Self> {
        if self.status.success() {
            return Ok(self);
        }
        bail!(
            "{} failed ({}{})\nstdout: {}\nstderr: {}",
            self.command,
            self.status,
            if self.status.signal() == Some(libc::SIGKILL) {
                ", probably by its deadline"
            } else {
                ""
            },
            tail(&self.text(), QUOTED_LINES),
            tail(&self.stderr, QUOTED_LINES)
        );
    }
}

/// The last `lines` lines of `text`.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

//! What it ran on and with: a figure without its machine says nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use mesh_harness::binaries;
use serde::Serialize;

use crate::plan::Plan;

/// The machine and the programs.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many of them are there.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// The kernel's release.
    pub kernel: String,
    /// How busy the machine was before the first measurement: the load of the last minute.
    pub load_before: String,
    /// Our own revision, or the folder that binaries were taken from; `+` after it: with changes that are not committed.
    pub revision: String,
    /// What others' programs say of their version.
    pub versions: BTreeMap<String, String>,
}

// === impl Machine ===

impl Machine {
    /// This one, now. What cannot be found out is left empty.
    pub fn look(plan: &Plan) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':'));
            value.map_or_else(String::new, |(_, value)| value.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let memory = memory.split(' ').next().and_then(|kib| kib.parse::<u64>().ok());
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: memory.unwrap_or_default() / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_before: read("/proc/loadavg")
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned(),
            revision: plan
                .binaries
                .as_ref()
                .map_or_else(revision, |folder| folder.display().to_string()),
            versions: versions(plan),
        }
    }
}

fn revision() -> String {
    let git = |arguments: &[&str]| {
        let folder = env!("CARGO_MANIFEST_DIR");
        said(Command::new("git").args(["-C", folder]).args(arguments))
    };
    let changes = git(&["status", "--porcelain", "--untracked-files=no"]);
    let mark = if changes.is_empty() { "" } else { "+" };
    format!("{}{mark}", git(&["rev-parse", "--short=12", "HEAD"]))
}

fn versions(plan: &Plan) -> BTreeMap<String, String> {
    let theirs = [
        ("nginx", "-v"),
        ("wrk", "-v"),
        ("h2load", "--version"),
        ("iperf3", "--version"),
    ];
    let theirs = theirs
        .into_iter()
        .filter_map(|(name, flag)| Some((name, binaries::theirs(name).ok()?, flag)));
    let named = [("envoy", Some(&plan.envoy)), ("oha", plan.oha.as_ref())];
    let named = named
        .into_iter()
        .filter_map(|(name, path)| Some((name, path?.clone(), "--version")));
    let all = theirs.chain(named);
    all.map(|(name, path, flag)| (name.to_owned(), first_line(&path, flag)))
        .collect()
}

fn first_line(program: &Path, flag: &str) -> String {
    let text = said(Command::new(program).arg(flag));
    let line = text.lines().find(|line| !line.trim().is_empty());
    let line = line.unwrap_or_default();
    // Envoy begins with its path.
    line.split_once("  version: ")
        .map_or(line, |(_, version)| version)
        .trim()
        .to_owned()
}

/// What a program says, on whichever stream: wrk and nginx tell their version as if it were an error.
fn said(command: &mut Command) -> String {
    let Ok(output) = command.stdin(Stdio::null()).output() else {
        return String::new();
    };
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    text.trim().to_owned()
}

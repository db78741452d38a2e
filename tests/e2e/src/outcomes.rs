//! Clients that go on whatever happens, and what became of each of their connections.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use mesh_harness::Workload;

use crate::traffic::Probe;

/// Longest that a client goes on: longer than any test.
const LIMIT: &str = "120";

/// A `mesh-probe outcomes`.
#[derive(Debug)]
pub struct Client {
    probe: Probe,
    name: String,
}

/// Equal outcomes, one after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// When the first began, since 1970.
    pub first: Duration,
    /// When the last began, since 1970.
    pub last: Duration,
    /// How many there were.
    pub count: u64,
    /// `ok` and the body; else the place and the kind of the failure.
    pub outcome: String,
}

/// All outcomes of a client.
#[derive(Debug, Clone)]
pub struct Outcomes {
    /// Whose.
    pub name: String,
    /// In the order of time.
    pub runs: Vec<Run>,
}

/// Time since 1970, as in a [`Run`].
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Client {
    /// Starts asking for a path on one fresh connection after another.
    pub fn start(binary: &str, from: &Workload, address: &str, path: &str) -> Self {
        Self {
            probe: Probe::start(binary, from, &["outcomes", address, path, LIMIT]),
            name: format!("{} to {address}{path}", from.name),
        }
    }

    /// Ends it.
    pub fn finish(self) -> Result<Outcomes> {
        let text = self.probe.finish();
        let runs = text
            .lines()
            .filter_map(|line| line.strip_prefix("run "))
            .map(read);
        Ok(Outcomes {
            name: self.name,
            runs: runs.collect::<Result<_>>()?,
        })
    }
}

impl Run {
    /// Whether an answer came.
    pub fn is_ok(&self) -> bool {
        self.outcome.starts_with("ok ")
    }
}

impl Outcomes {
    /// How many answers there were.
    pub fn answers(&self) -> u64 {
        self.runs
            .iter()
            .filter(|run| run.is_ok())
            .map(|run| run.count)
            .sum()
    }

    /// How many connections failed.
    pub fn failures(&self) -> u64 {
        self.runs
            .iter()
            .filter(|run| !run.is_ok())
            .map(|run| run.count)
            .sum()
    }

    /// The first answer at or after a time.
    pub fn first_answer_after(&self, time: Duration) -> Option<Duration> {
        let mut answers = self.runs.iter().filter(|run| run.is_ok() && run.last >= time);
        answers.next().map(|run| run.first.max(time))
    }

    /// What failed between two times.
    pub fn failures_between(&self, start: Duration, end: Duration) -> Vec<&Run> {
        let within = |run: &&Run| !run.is_ok() && run.last >= start && run.first < end;
        self.runs.iter().filter(within).collect()
    }

    /// The kinds of outcome with their counts.
    pub fn summary(&self) -> String {
        let mut kinds = std::collections::BTreeMap::<&str, u64>::new();
        for run in &self.runs {
            *kinds.entry(&run.outcome).or_default() += run.count;
        }
        format!("{}: {kinds:?}", self.name)
    }
}

fn read(line: &str) -> Result<Run> {
    let mut words = line.splitn(4, ' ');
    let mut number = || -> Result<u64> {
        let word = words.next().with_context(|| format!("a short line {line:?}"))?;
        word.parse().with_context(|| format!("no number in {line:?}"))
    };
    let (first, last, count) = (number()?, number()?, number()?);
    Ok(Run {
        first: Duration::from_millis(first),
        last: Duration::from_millis(last),
        count,
        outcome: words.next().unwrap_or_default().to_owned(),
    })
}

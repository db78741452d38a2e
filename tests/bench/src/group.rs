//! Subjects that take turns under one load each: A B A B, so that what the machine does beside it touches all alike.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::load::Load;
use crate::profile::{self, Watched};
use crate::stage::Stage;
use crate::statistics::Summary;

/// Figures of one measurement, by name.
pub type Figures = BTreeMap<String, f64>;

/// Who is compared with whom, in what.
#[derive(Debug, Clone)]
pub struct Group {
    /// Begins the ratios' keys, such as `l7-http1.between-nodes.c32.1KiB`.
    pub key: String,
    /// What is counted: `requests`, `throughput`.
    pub counted: &'static str,
    /// What one of them is called in a table: `request`, `MB`.
    pub unit: &'static str,
    /// In the order of their first turn.
    pub subjects: Vec<Subject>,
    /// The ratios.
    pub pairs: Vec<Pair>,
    /// Whether what the mesh adds to a direct connection's median is compared with what Envoy adds: where a client waits
    /// for nothing but its own answer.
    pub is_alone: bool,
}

/// Who is measured, and how.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// Its load.
    pub load: Load,
    /// The cgroups of its proxies.
    pub proxies: Vec<PathBuf>,
    /// Its proxies' processes.
    pub processes: Vec<Watched>,
}

/// A ratio of each figure of two subjects: `<key>.<before><figure><after>`.
#[derive(Debug, Clone)]
pub struct Pair {
    /// Whose figure is divided.
    pub subject: &'static str,
    /// By whose.
    pub base: &'static str,
    /// Before the figure's name.
    pub before: &'static str,
    /// After it.
    pub after: &'static str,
}

/// What came of a group.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// The group's.
    pub key: String,
    /// The group's.
    pub counted: String,
    /// The group's.
    pub unit: String,
    /// The command of each subject.
    pub commands: BTreeMap<String, String>,
    /// Every figure of every round, by subject.
    pub rounds: Vec<BTreeMap<String, Figures>>,
    /// The rounds' middle and ends, by subject and figure.
    pub summary: BTreeMap<String, BTreeMap<String, Summary>>,
    /// Ratios by key: of the figures of each round, their middle and ends.
    pub ratios: BTreeMap<String, Summary>,
}

// === impl Group ===

impl Group {
    /// Sees that every subject answers rightly, then measures all in turns.
    pub fn run(
        &self,
        stage: &mut Stage,
        rounds: u32,
        seconds: u32,
        mut told: impl FnMut(&str),
    ) -> Result<Measured> {
        for subject in &self.subjects {
            let answered = subject.load.check();
            answered.with_context(|| format!("{}, {}\n{}", self.key, subject.name, stage.logs()))?;
        }
        let mut all = Vec::new();
        for round in 0..rounds {
            let mut figures = BTreeMap::new();
            for turn in 0..self.subjects.len() {
                // Who begins changes: the first of a round would else always come after the same neighbour.
                let place = (turn + round as usize) % self.subjects.len();
                let subject = &self.subjects[place];
                told(&format!("{} {}", self.key, subject.name));
                let measured = self.measure(stage, subject, seconds);
                let measured = measured
                    .with_context(|| format!("{}, {}, round {}", self.key, subject.name, round + 1))?;
                figures.insert(subject.name.clone(), measured);
            }
            all.push(figures);
        }
        Ok(self.sum_up(all, seconds))
    }

    /// Watches every subject with proxies under its load, and gives the files that were written.
    pub fn profile(&self, folder: &Path, inferno: &Path, seconds: u32) -> Result<Vec<PathBuf>> {
        let mut written = Vec::new();
        for subject in self
            .subjects
            .iter()
            .filter(|subject| !subject.processes.is_empty())
        {
            let recorded = profile::record(
                folder,
                inferno,
                &self.key,
                &subject.processes,
                &subject.load,
                seconds,
            );
            written.extend(recorded.with_context(|| format!("profile {} of {}", subject.name, self.key))?);
        }
        Ok(written)
    }

    fn measure(&self, stage: &mut Stage, subject: &Subject, seconds: u32) -> Result<Figures> {
        stage.empty_logs()?;
        let before = stage.read_clocks(&subject.proxies)?;
        let outcome = subject.load.run(seconds)?;
        let spent = before.until(&stage.read_clocks(&subject.proxies)?);
        let mut figures = Figures::new();
        figures.insert(self.counted.to_owned(), outcome.rate);
        if !subject.proxies.is_empty() {
            figures.insert("cpu".to_owned(), spent.proxies / outcome.count);
        }
        figures.insert("machine_cpu".to_owned(), spent.machine / outcome.count);
        for (name, value) in outcome.latencies {
            figures.insert(name.to_owned(), value);
        }
        Ok(figures)
    }

    /// The middle of all rounds, and the ratios.
    pub fn sum_up(&self, rounds: Vec<BTreeMap<String, Figures>>, seconds: u32) -> Measured {
        let commands = self.subjects.iter();
        let commands = commands.map(|subject| (subject.name.clone(), subject.load.command(seconds)));
        Measured {
            key: self.key.clone(),
            counted: self.counted.to_owned(),
            unit: self.unit.to_owned(),
            commands: commands.collect(),
            summary: summaries(&rounds),
            ratios: self.ratios(&rounds),
            rounds,
        }
    }

    fn ratios(&self, rounds: &[BTreeMap<String, Figures>]) -> BTreeMap<String, Summary> {
        let mut ratios: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for round in rounds {
            for pair in &self.pairs {
                let (Some(subject), Some(base)) = (round.get(pair.subject), round.get(pair.base)) else {
                    continue;
                };
                for (figure, value) in subject {
                    if let Some(base) = base.get(figure).filter(|base| **base != 0.0) {
                        let key = format!("{}.{}{figure}{}", self.key, pair.before, pair.after);
                        ratios.entry(key).or_default().push(value / base);
                    }
                }
            }
            if let Some(added) = added_median(round).filter(|_| self.is_alone) {
                let key = format!("{}.added_median_vs_envoy", self.key);
                ratios.entry(key).or_default().push(added);
            }
        }
        let summed = ratios.into_iter();
        summed
            .filter_map(|(key, values)| Some((key, Summary::of(&values)?)))
            .collect()
    }
}

/// What the mesh adds to the median of a direct connection, by what Envoy adds to it.
fn added_median(round: &BTreeMap<String, Figures>) -> Option<f64> {
    let of = |subject: &str| round.get(subject)?.get("p50").copied();
    let (direct, mesh, envoy) = (of("direct")?, of("nodemesh")?, of("envoy")?);
    (envoy > direct).then(|| (mesh - direct) / (envoy - direct))
}

fn summaries(rounds: &[BTreeMap<String, Figures>]) -> BTreeMap<String, BTreeMap<String, Summary>> {
    let mut values: BTreeMap<&str, BTreeMap<&str, Vec<f64>>> = BTreeMap::new();
    for (subject, figures) in rounds.iter().flatten() {
        for (figure, value) in figures {
            let of_subject = values.entry(subject).or_default();
            of_subject.entry(figure).or_default().push(*value);
        }
    }
    let summed = values.into_iter().map(|(subject, figures)| {
        let figures = figures.into_iter();
        let figures = figures.filter_map(|(figure, values)| Some((figure.to_owned(), Summary::of(&values)?)));
        (subject.to_owned(), figures.collect())
    });
    summed.collect()
}

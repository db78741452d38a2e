//! Subjects that take turns under one load each: A B A B, so that what the machine does beside it touches all alike.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::load::{Load, Stuck};
use crate::meter::Reading;
use crate::profile::{self, Watched};
use crate::stage::Stage;
use crate::statistics::Summary;
use crate::swap::{Swap, Swapping};

/// How often a turn is tried whose load program gets stuck.
const ATTEMPTS: u32 = 3;

/// Figures of one measurement, by name.
pub type Figures = BTreeMap<String, f64>;

/// Figures of one round, by subject.
pub type Round = BTreeMap<String, Figures>;

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
    /// What changes while it is measured.
    pub swap: Option<Swap>,
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
    /// How long a turn was.
    pub seconds: u32,
    /// The command of each subject.
    pub commands: BTreeMap<String, String>,
    /// Every figure of every round, by subject.
    pub rounds: Vec<Round>,
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
            answered.with_context(|| format!("{}, {}\n{}", self.key, subject.name, stage.complaints()))?;
        }
        let mut all = Vec::new();
        for round in 0..rounds {
            let mut figures = Round::new();
            for turn in 0..self.subjects.len() {
                // Who begins changes: the first of a round would else always come after the same neighbour.
                let place = (turn + round as usize) % self.subjects.len();
                let subject = &self.subjects[place];
                told(&format!("{} {}", self.key, subject.name));
                let measured = self.measure_again(stage, subject, seconds);
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

    /// A load program that got stuck had its turn in vain; its figures are no one's.
    fn measure_again(&self, stage: &mut Stage, subject: &Subject, seconds: u32) -> Result<Figures> {
        for _ in 1..ATTEMPTS {
            match self.measure(stage, subject, seconds) {
                Err(error) if error.is::<Stuck>() => {}
                measured => return measured,
            }
        }
        self.measure(stage, subject, seconds)
    }

    fn measure(&self, stage: &mut Stage, subject: &Subject, seconds: u32) -> Result<Figures> {
        stage.empty_logs()?;
        let before = Reading::now(&subject.proxies)?;
        let swapping = subject.swap.as_ref().map(Swap::start);
        let outcome = subject.load.run(seconds);
        swapping.map_or(Ok(()), Swapping::finish)?;
        let outcome = outcome?;
        let spent = before.until(&Reading::now(&subject.proxies)?);
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

    fn sum_up(&self, rounds: Vec<Round>, seconds: u32) -> Measured {
        let commands = self.subjects.iter();
        let commands = commands.map(|subject| (subject.name.clone(), subject.load.command(seconds)));
        Measured {
            key: self.key.clone(),
            counted: self.counted.to_owned(),
            unit: self.unit.to_owned(),
            seconds,
            commands: commands.collect(),
            summary: summaries(&rounds),
            ratios: ratios(&self.key, &self.pairs, self.is_alone, &rounds),
            rounds,
        }
    }
}

/// Of the figures of each round: what moves a whole round moves neither its ratios nor, so, their middle.
pub fn ratios(key: &str, pairs: &[Pair], is_alone: bool, rounds: &[Round]) -> BTreeMap<String, Summary> {
    let mut ratios: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for round in rounds {
        for pair in pairs {
            let (Some(subject), Some(base)) = (round.get(pair.subject), round.get(pair.base)) else {
                continue;
            };
            for (figure, value) in subject {
                if let Some(base) = base.get(figure).filter(|base| **base != 0.0) {
                    let name = format!("{key}.{}{figure}{}", pair.before, pair.after);
                    ratios.entry(name).or_default().push(value / base);
                }
            }
        }
        if let Some(added) = added_median(round).filter(|_| is_alone) {
            let name = format!("{key}.added_median_vs_envoy");
            ratios.entry(name).or_default().push(added);
        }
    }
    let summed = ratios.into_iter();
    summed
        .filter_map(|(key, values)| Some((key, Summary::of(&values)?)))
        .collect()
}

/// What the mesh adds to the median of a direct connection, by what Envoy adds to it.
fn added_median(round: &Round) -> Option<f64> {
    let of = |subject: &str| round.get(subject)?.get("p50").copied();
    let (direct, mesh, envoy) = (of("direct")?, of("nodemesh")?, of("envoy")?);
    (envoy > direct).then(|| (mesh - direct) / (envoy - direct))
}

/// The rounds' middle and ends, by subject and figure.
pub fn summaries(rounds: &[Round]) -> BTreeMap<String, BTreeMap<String, Summary>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn round(figures: &[(&str, &str, f64)]) -> Round {
        let mut round = Round::new();
        for (subject, figure, value) in figures {
            let of_subject = round.entry((*subject).to_owned()).or_default();
            of_subject.insert((*figure).to_owned(), *value);
        }
        round
    }

    const PAIR: Pair = Pair {
        subject: "nodemesh",
        base: "envoy",
        before: "",
        after: "_vs_envoy",
    };

    #[test]
    fn a_ratio_is_the_middle_of_the_rounds_ratios_and_its_key_names_case_figure_and_peer() {
        let rounds = [(20.0, 10.0), (30.0, 10.0), (2.0, 1.0)]
            .map(|(mesh, envoy)| round(&[("nodemesh", "requests", mesh), ("envoy", "requests", envoy)]));
        let ratios = ratios("l7-http1.between-nodes.c32.1KiB", &[PAIR], false, &rounds);
        let expected = Summary {
            median: 2.0,
            min: 2.0,
            max: 3.0,
        };
        assert_eq!(
            ratios.into_iter().collect::<Vec<_>>(),
            [(
                "l7-http1.between-nodes.c32.1KiB.requests_vs_envoy".to_owned(),
                expected
            )]
        );
    }

    #[test]
    fn who_was_not_measured_or_has_no_such_figure_has_no_ratio() {
        let alone = [round(&[("nodemesh", "requests", 1.0)])];
        assert!(ratios("x", &[PAIR], true, &alone).is_empty());
        let other = [round(&[("nodemesh", "cpu", 1.0), ("envoy", "requests", 1.0)])];
        assert!(ratios("x", &[PAIR], true, &other).is_empty());
    }

    #[test]
    fn what_is_added_to_a_direct_connection_is_compared_only_where_it_waits_for_nobody_else() {
        let rounds = [round(&[
            ("direct", "p50", 50.0),
            ("nodemesh", "p50", 90.0),
            ("envoy", "p50", 250.0),
        ])];
        let key = "x.added_median_vs_envoy";
        let with = ratios("x", &[], true, &rounds);
        assert!((with[key].median - 0.2).abs() < 1e-9, "{with:?}");
        assert!(!ratios("x", &[], false, &rounds).contains_key(key));
    }
}

//! What came of it, for people and for programs.

mod markdown;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::group::Measured;
use crate::machine::Machine;
use crate::plan::Plan;
use crate::statistics::Summary;
use crate::targets::{Verdict, verdicts};

/// A whole run. As JSON: the fields by their names; `ratios` alone is made to be compared with that of other runs.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What it ran on.
    pub machine: Machine,
    /// What was asked for.
    pub plan: Plan,
    /// The middle of each ratio, by key: `<case>.<figure>_vs_<peer>`.
    pub ratios: BTreeMap<String, f64>,
    /// The least and the greatest round of each ratio.
    pub spreads: BTreeMap<String, [f64; 2]>,
    /// The targets for which there is a figure.
    pub targets: Vec<Verdict>,
    /// Everything, raw rounds and commands included.
    pub groups: Vec<Measured>,
    /// What could not be measured, and why.
    pub failures: Vec<String>,
}

// === impl Report ===

impl Report {
    /// Of what was measured.
    pub fn new(machine: Machine, plan: Plan, groups: Vec<Measured>, failures: Vec<String>) -> Self {
        let all = || groups.iter().flat_map(|group| &group.ratios);
        Self {
            machine,
            plan,
            ratios: all().map(|(key, value)| (key.clone(), value.median)).collect(),
            spreads: all()
                .map(|(key, value)| (key.clone(), [value.min, value.max]))
                .collect(),
            targets: verdicts(&groups),
            groups,
            failures,
        }
    }

    /// The tables: targets, then each group.
    pub fn text(&self) -> Result<String> {
        let mut text = String::new();
        for group in &self.groups {
            write_group(&mut text, group)?;
        }
        let machine = &self.machine;
        writeln!(
            text,
            "\n{} × {}, {} MiB, Linux {}, load before: {}, revision {}",
            machine.cores,
            machine.processor,
            machine.memory_mib,
            machine.kernel,
            machine.load_before,
            machine.revision
        )?;
        for (program, version) in &machine.versions {
            writeln!(text, "{program}: {version}")?;
        }
        if !self.targets.is_empty() {
            writeln!(text, "\n{:<72} {:>9}  {:>9}", "target", "wanted", "measured")?;
        }
        for verdict in &self.targets {
            let mark = if verdict.met { "met" } else { "MISSED" };
            writeln!(
                text,
                "{:<72} {:>9}  {:>9}  {mark}",
                verdict.what,
                verdict.bound,
                number(verdict.value)
            )?;
        }
        for failure in &self.failures {
            writeln!(text, "\nFAILED {failure}")?;
        }
        Ok(text)
    }

    /// As docs/performance.md has it.
    pub fn markdown(&self) -> Result<String> {
        markdown::write(self)
    }

    /// Whether every group has a ratio with every peer that was measured in it: without it, a run has said nothing.
    pub fn ensure_complete(&self) -> Result<()> {
        for group in &self.groups {
            let has = |subject: &str| group.summary.contains_key(subject);
            for base in ["envoy", "direct"] {
                let end = format!("_vs_{base}");
                let is_there = group.ratios.keys().any(|key| key.ends_with(&end));
                ensure!(
                    is_there || !has("nodemesh") || !has(base),
                    "{} has no ratio of nodemesh to {base}",
                    group.key
                );
            }
        }
        Ok(())
    }
}

fn write_group(text: &mut String, group: &Measured) -> Result<()> {
    let rounds = group.rounds.len();
    writeln!(
        text,
        "\n{}   ({rounds} rounds of {} s; median ± half of what lies between the ends; CPU in µs a {})",
        group.key, group.seconds, group.unit
    )?;
    for (subject, figures) in &group.summary {
        let cells: Vec<String> = figures.iter().map(|(name, value)| cell(name, value)).collect();
        writeln!(text, "  {subject:<14} {}", cells.join("  "))?;
    }
    for (key, value) in &group.ratios {
        let name = key.strip_prefix(&group.key).unwrap_or(key);
        writeln!(
            text,
            "    {:<32} {:>7.3}  ({:.3} to {:.3})",
            name.trim_start_matches('.'),
            value.median,
            value.min,
            value.max
        )?;
    }
    Ok(())
}

fn cell(name: &str, value: &Summary) -> String {
    format!("{name} {} ±{:.0}%", number(value.median), value.spread() * 100.0)
}

/// Three figures that count, as people write them.
fn number(value: f64) -> String {
    if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::PAIRS;
    use crate::group::{Round, ratios, summaries};

    fn report() -> Report {
        let key = "l7-http1.between-nodes.c32.1KiB";
        let figures = |rate: f64| BTreeMap::from([("requests".to_owned(), rate)]);
        let rounds = vec![Round::from([
            ("nodemesh".to_owned(), figures(30.0)),
            ("envoy".to_owned(), figures(10.0)),
        ])];
        let measured = Measured {
            key: key.to_owned(),
            counted: "requests".to_owned(),
            unit: "request".to_owned(),
            seconds: 2,
            commands: BTreeMap::from([("envoy".to_owned(), "wrk …".to_owned())]),
            summary: summaries(&rounds),
            ratios: ratios(key, &PAIRS, false, &rounds),
            rounds,
        };
        Report::new(Machine::default(), Plan::default(), vec![measured], Vec::new())
    }

    #[test]
    fn json_has_ratios_rounds_machine_commands_and_targets() {
        let json = serde_json::to_value(report()).unwrap();
        let key = "l7-http1.between-nodes.c32.1KiB.requests_vs_envoy";
        assert_eq!(json["ratios"][key], 3.0);
        assert_eq!(json["spreads"][key], serde_json::json!([3.0, 3.0]));
        let group = &json["groups"][0];
        assert_eq!(group["rounds"][0]["nodemesh"]["requests"], 30.0);
        assert_eq!(group["summary"]["envoy"]["requests"]["median"], 10.0);
        assert_eq!(group["commands"]["envoy"], "wrk …");
        assert!(json["machine"]["kernel"].is_string());
        assert_eq!(json["targets"][0]["key"], key);
        assert_eq!(json["targets"][0]["met"], true);
    }

    #[test]
    fn the_table_says_what_was_measured_wanted_and_met() {
        let text = report().text().unwrap();
        assert!(text.contains("requests_vs_envoy"), "{text}");
        assert!(text.contains("≥ 2      3.000  met"), "{text}");
    }

    #[test]
    fn markdown_has_targets_a_row_for_each_case_and_the_commands() {
        let text = report().markdown().unwrap();
        assert!(text.contains("| ≥ 2 | 3.000 | met |"), "{text}");
        assert!(
            text.contains("| l7-http1.between-nodes.c32.1KiB | 30.0 | 10.0 | – | 3.000 | – |"),
            "{text}"
        );
        assert!(text.ends_with("wrk …\n```\n"), "{text}");
    }

    #[test]
    fn a_run_without_its_ratios_is_no_run() {
        let mut report = report();
        assert!(report.ensure_complete().is_ok());
        report.groups[0].ratios.clear();
        let error = report.ensure_complete().unwrap_err().to_string();
        assert!(error.contains("no ratio of nodemesh to envoy"), "{error}");
    }

    #[test]
    fn numbers_have_three_figures() {
        assert_eq!([0.4567, 12.345, 30123.4].map(number), ["0.457", "12.3", "30123"]);
    }
}

//! The budget: a file with what a request of each case may cost.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::Cost;
use crate::{command, workspace};

const FILE: &str = "tests/instructions/budget.toml";
const ABOUT: &str = "# What a request may cost the data plane, in instructions of user space: `cargo xtask instructions` counts, and fails when
# one is over its budget by more than the tolerance. Written by `cargo xtask instructions --update`.
";

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Budget {
    /// The share by which a figure may be over.
    tolerance: f64,
    /// What the figures were made with: another compiler makes others.
    compiler: String,
    /// Instructions by case.
    instructions: BTreeMap<String, u64>,
}

/// How a case stands.
#[derive(Debug)]
pub(super) struct Verdict {
    case: String,
    instructions: f64,
    budget: Option<u64>,
}

// === impl Budget ===

impl Budget {
    pub(super) fn read() -> Result<Self> {
        let path = path();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is no budget", path.display()))
    }

    /// Fails when there is a budget for what is no case: a case that is gone would be held to nothing.
    pub(super) fn knows_only(&self, cases: &[&str]) -> Result<()> {
        match self
            .instructions
            .keys()
            .find(|name| !cases.contains(&name.as_str()))
        {
            Some(name) => {
                bail!("{FILE} has {name}, which is no case: take its line out, or bring the case back")
            }
            None => Ok(()),
        }
    }

    /// How each case stands, in the order of `costs`.
    pub(super) fn judge(&self, costs: &[Cost]) -> Vec<Verdict> {
        let verdict = |cost: &Cost| Verdict {
            case: cost.case.clone(),
            instructions: cost.instructions,
            budget: self.instructions.get(&cost.case).copied(),
        };
        costs.iter().map(verdict).collect()
    }

    /// Fails when a case is over its budget.
    pub(super) fn check(&self, verdicts: &[Verdict]) -> Result<()> {
        let over: Vec<String> = verdicts
            .iter()
            .filter(|verdict| verdict.share().is_none_or(|share| share > self.tolerance))
            .map(|verdict| format!("{} ({})", verdict.case, verdict.change()))
            .collect();
        let compiler = compiler()?;
        if compiler != self.compiler {
            eprintln!(
                "    the budget was made with {}, this is {compiler}: figures may differ by some percent",
                self.compiler
            );
        }
        if verdicts
            .iter()
            .any(|verdict| verdict.share().is_some_and(|share| share < -self.tolerance))
        {
            eprintln!("    cheaper than the budget: keep it so with `cargo xtask instructions --update`");
        }
        if over.is_empty() {
            return Ok(());
        }
        bail!(
            "over the budget in {FILE} by more than {} %: {}.\n\
             See what costs it with `cargo xtask instructions CASE --top`, here and before the change. When it is wanted, \
             record it with `cargo xtask instructions --update` and say in the commit what it buys",
            self.tolerance * 100.0,
            over.join(", ")
        )
    }

    /// Writes what was counted.
    pub(super) fn update(&mut self, costs: &[Cost]) -> Result<()> {
        self.compiler = compiler()?;
        for cost in costs {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count, far below 2^52"
            )]
            self.instructions
                .insert(cost.case.clone(), cost.instructions.round() as u64);
        }
        fs::write(path(), self.text()?).with_context(|| format!("cannot write {FILE}"))?;
        eprintln!("    {FILE} has the new figures");
        Ok(())
    }

    fn text(&self) -> Result<String> {
        let mut text = ABOUT.to_owned();
        writeln!(text, "tolerance = {}", self.tolerance)?;
        writeln!(text, "compiler = {:?}\n\n[instructions]", self.compiler)?;
        for (case, instructions) in &self.instructions {
            writeln!(text, "{case} = {instructions}")?;
        }
        Ok(text)
    }
}

fn path() -> PathBuf {
    workspace::root().join(FILE)
}

/// `rustc 1.95.0`: its version without the commit.
fn compiler() -> Result<String> {
    let version = command::output(Command::new("rustc").arg("--version")).context("rustc does not run")?;
    let words: Vec<&str> = version.split_whitespace().take(2).collect();
    Ok(words.join(" "))
}

// === impl Verdict ===

impl Verdict {
    /// By which share it is over its budget; `None` without one.
    #[expect(clippy::cast_precision_loss, reason = "figures far below 2^52")]
    fn share(&self) -> Option<f64> {
        self.budget.map(|budget| self.instructions / budget as f64 - 1.0)
    }

    /// The budget, for people.
    pub(super) fn budget(&self) -> String {
        self.budget
            .map_or_else(|| "-".to_owned(), |budget| budget.to_string())
    }

    /// The difference, for people.
    pub(super) fn change(&self) -> String {
        self.share().map_or_else(
            || "no budget".to_owned(),
            |share| format!("{:+.1} %", share * 100.0),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> Budget {
        Budget {
            tolerance: 0.03,
            compiler: compiler().unwrap(),
            instructions: BTreeMap::from([("http1".to_owned(), 1000)]),
        }
    }

    fn outcome(case: &str, instructions: f64) -> Result<()> {
        let cost = Cost {
            case: case.to_owned(),
            instructions,
            system_calls: 1.0,
            allocations: 1.0,
            allocated_bytes: 1.0,
            clock_readings: 1.0,
        };
        let budget = budget();
        budget.check(&budget.judge(&[cost]))
    }

    #[test]
    fn fails_over_the_tolerance_and_without_a_budget() {
        assert!(outcome("http1", 900.0).is_ok());
        assert!(outcome("http1", 1029.0).is_ok());
        let error = outcome("http1", 1050.0).unwrap_err().to_string();
        assert!(error.contains("http1 (+5.0 %)"), "{error}");
        assert!(outcome("http2", 1.0).is_err());
    }

    #[test]
    fn a_case_that_is_gone_is_missed() {
        assert!(budget().knows_only(&["http1", "http2"]).is_ok());
        let error = budget().knows_only(&["http2"]).unwrap_err().to_string();
        assert!(error.contains("has http1, which is no case"), "{error}");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let read: Budget = toml::from_str(&budget().text().unwrap()).unwrap();
        assert_eq!(read.instructions, budget().instructions);
        assert_eq!(read.compiler, budget().compiler);
    }

    #[test]
    fn the_budget_of_this_workspace_is_one() {
        assert!(!Budget::read().unwrap().instructions.is_empty());
    }
}

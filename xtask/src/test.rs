//! `cargo xtask test`: the suites by name, and a table of how they went.
//!
//! `unit` is every crate's own tests. Each file of tests/e2e/tests is a suite, run as root against the release
//! binaries on this machine's kernel. A suite that cannot run fails.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::setup::{self, Purpose};
use crate::{build, command, workspace};

/// Compiling included. The slowest suite takes about three minutes.
const DEADLINE: Duration = Duration::from_mins(30);
const UNIT: &str = "unit";
const EXAMPLES: &str = "Examples:
  cargo xtask test                       # every suite
  cargo xtask test unit                  # what needs neither root nor the release binaries
  cargo xtask test capture mtls          # end-to-end suites, as root
  cargo xtask test capture -- half_close # the tests of a suite whose name has half_close in it
  cargo xtask test --list";

/// What to run.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The suites to run; none: all
    suites: Vec<String>,
    /// Show the suites' names and end
    #[arg(long)]
    list: bool,
    /// Passed to the test programs
    #[arg(last = true)]
    pass: Vec<String>,
}

struct Finished {
    suite: String,
    time: Duration,
    error: Option<anyhow::Error>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let all = suites()?;
    if arguments.list {
        println!("{}", all.join("\n"));
        return Ok(());
    }
    let chosen = choose(&all, &arguments.suites)?;
    let end_to_end = chosen.iter().any(|suite| suite != UNIT);
    ensure!(
        !end_to_end || command::is_root(),
        "only `unit` runs without root: the others load kernel programs and make namespaces; try sudo -E cargo xtask test"
    );
    setup::ensure(if end_to_end { Purpose::Test } else { Purpose::Build })?;
    if end_to_end {
        build::release()?;
    }

    let mut finished = Vec::new();
    for suite in chosen {
        let start = Instant::now();
        let outcome = command::step(&format!("suite {suite}"), || one(&suite, &arguments.pass));
        if let Err(error) = &outcome {
            eprintln!("    {error:#}");
        }
        finished.push(Finished {
            suite,
            time: start.elapsed(),
            error: outcome.err(),
        });
    }
    summary(&finished)
}

/// The names of all suites: the quick one first, the slow one last.
fn suites() -> Result<Vec<String>> {
    let folder = workspace::root().join("tests/e2e/tests");
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    let mut suites = vec![UNIT.to_owned()];
    suites.extend(names);
    Ok(suites)
}

/// The suites asked for, in the order of `all`.
fn choose(all: &[String], asked: &[String]) -> Result<Vec<String>> {
    if let Some(unknown) = asked.iter().find(|name| !all.contains(name)) {
        bail!("there is no suite {unknown}: choose of {}", all.join(", "));
    }
    Ok(all
        .iter()
        .filter(|name| asked.is_empty() || asked.contains(name))
        .cloned()
        .collect())
}

fn one(suite: &str, pass: &[String]) -> Result<()> {
    let mut cargo = if suite == UNIT {
        let mut cargo = command::cargo(["test", "--locked", "--no-fail-fast", "--workspace"]);
        cargo.args(["--exclude", "mesh-ebpf", "--exclude", "mesh-e2e", "--"]);
        cargo
    } else {
        // One at a time: each test has both cores and the memory it measures to itself.
        command::cargo([
            "test",
            "--locked",
            "--package",
            "mesh-e2e",
            "--test",
            suite,
            "--",
            "--test-threads=1",
        ])
    };
    command::run(cargo.args(pass), DEADLINE)
}

fn summary(finished: &[Finished]) -> Result<()> {
    println!("\n{:<12} {:<8} time", "suite", "result");
    for suite in finished {
        let result = if suite.error.is_none() { "ok" } else { "FAILED" };
        println!("{:<12} {result:<8} {}", suite.suite, command::seconds(suite.time));
    }
    let failed: Vec<&str> = finished
        .iter()
        .filter(|suite| suite.error.is_some())
        .map(|suite| suite.suite.as_str())
        .collect();
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn runs_all_suites_unless_some_are_named() {
        let all = names(&["unit", "capture", "mtls"]);
        assert_eq!(choose(&all, &[]).unwrap(), all);
        assert_eq!(
            choose(&all, &names(&["mtls", "unit"])).unwrap(),
            names(&["unit", "mtls"])
        );
    }

    #[test]
    fn says_which_suites_there_are() {
        let error = choose(&names(&["unit", "mtls"]), &names(&["tls"]))
            .unwrap_err()
            .to_string();
        assert_eq!(error, "there is no suite tls: choose of unit, mtls");
    }

    #[test]
    fn fails_when_a_suite_failed() {
        let finished = |error| Finished {
            suite: "mtls".to_owned(),
            time: Duration::ZERO,
            error,
        };
        assert!(summary(&[finished(None)]).is_ok());
        assert!(summary(&[finished(None), finished(Some(anyhow::anyhow!("x")))]).is_err());
    }
}

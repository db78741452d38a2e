//! `cargo xtask test`: the suites by name, and a table of how they went.
//!
//! `unit` is what needs neither root nor another process: the tests beside the code and those of the libraries. Each
//! file of tests/*/tests is a suite of that name, run as root against the release binaries on this machine's
//! kernel; files of the same name in two packages are one suite. A suite that cannot run fails.

mod suite;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::setup::{self, Purpose};
use crate::{build, command};
use suite::Suite;

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
    let all = suite::all()?;
    if arguments.list {
        for suite in all {
            println!("{}", suite.name);
        }
        return Ok(());
    }
    let chosen = suite::choose(all, &arguments.suites)?;
    let end_to_end = chosen.iter().any(Suite::is_end_to_end);
    ensure!(
        !end_to_end || command::is_root(),
        "only `unit` runs without root: the others load kernel programs and make namespaces; \
         try sudo -E env \"PATH=$PATH\" cargo xtask test"
    );
    setup::ensure(if end_to_end { Purpose::Test } else { Purpose::Build })?;
    if end_to_end {
        build::release()?;
    }

    let mut finished = Vec::new();
    for suite in chosen {
        let start = Instant::now();
        let outcome = command::step(&format!("suite {}", suite.name), || suite.run(&arguments.pass));
        if let Err(error) = &outcome {
            eprintln!("    {error:#}");
        }
        finished.push(Finished {
            suite: suite.name,
            time: start.elapsed(),
            error: outcome.err(),
        });
    }
    summary(&finished)
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

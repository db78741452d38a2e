//! `cargo xtask instructions`: how many instructions a request costs the data plane, against a budget.
//!
//! valgrind counts what tests/instructions executes of mesh-node between the clients' sockets and the servers': a figure that
//! neither the machine's load nor its speed moves. It has no caches and no kernel: what those cost, `cargo xtask bench` shows.

mod budget;
mod callgrind;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::setup::{self, Purpose};
use crate::{build, command, workspace};
use budget::{Budget, Verdict};

const PACKAGE: &str = "mesh-instructions";
/// Requests that are counted of each case. The figures of 500 and of 2,000 differ by less than 0.3 %.
const REQUESTS: u64 = 1000;
/// For one case. Valgrind takes some 50 times as long as the machine.
const DEADLINE: Duration = Duration::from_mins(3);
/// Functions that `--top` shows.
const SHOWN: usize = 40;
const EXAMPLES: &str = "Examples:
  cargo xtask instructions                              # every case, and whether it is within its budget
  cargo xtask instructions http1-between-nodes --top    # the functions that cost most
  cargo xtask instructions --update                     # what it costs now is the budget from now on
  cargo xtask instructions --output json";

/// What to count.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The cases; none: all
    cases: Vec<String>,
    /// Show the functions that cost most
    #[arg(long)]
    top: bool,
    /// Write what was counted into the budget
    #[arg(long)]
    update: bool,
    /// How the figures are shown
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// A table.
    #[default]
    Text,
    /// A JSON object by case.
    Json,
}

/// What a request of a case costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Cost {
    case: String,
    instructions: f64,
    system_calls: f64,
    allocations: f64,
    allocated_bytes: f64,
    clock_readings: f64,
}

/// What the program prints of a run.
#[derive(Debug, Deserialize)]
struct Printed {
    requests: u64,
    system_calls: u64,
    allocations: u64,
    allocated: u64,
    clock_readings: u64,
}

/// Where the program is, and where valgrind's files go.
struct Place {
    program: PathBuf,
    folder: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure(Purpose::Build)?;
    ensure!(
        command::find("valgrind").is_some(),
        "valgrind counts the instructions and is missing: run `cargo xtask setup --for test`"
    );
    build::release_with(PACKAGE)?;
    let target = workspace::target()?;
    let place = Place {
        program: target.join("release").join(PACKAGE),
        folder: target.join("instructions"),
    };
    fs::create_dir_all(&place.folder)?;
    let all =
        command::output(Command::new(&place.program).arg("--list")).context("the program does not run")?;
    let all: Vec<&str> = all.lines().collect();
    let chosen = choose(&all, &arguments.cases)?;
    let mut budget = Budget::read()?;
    budget.knows_only(&all)?;
    let what = format!("{} cases, {REQUESTS} requests each, under valgrind", chosen.len());
    let costs = command::step(&what, || place.measure(&chosen))?;
    let verdicts = budget.judge(&costs);
    match arguments.output {
        Output::Text => print_table(&costs, &verdicts),
        Output::Json => println!("{}", serde_json::to_string_pretty(&costs)?),
    }
    if arguments.top {
        for cost in &costs {
            callgrind::print_top(&place.profile(&cost.case), SHOWN, REQUESTS, &cost.case)?;
        }
    }
    if arguments.update {
        return budget.update(&costs);
    }
    budget.check(&verdicts)
}

fn choose<'a>(all: &[&'a str], asked: &[String]) -> Result<Vec<&'a str>> {
    if let Some(unknown) = asked.iter().find(|name| !all.contains(&name.as_str())) {
        bail!("there is no case {unknown}: choose of {}", all.join(", "));
    }
    let is_chosen = |case: &&str| asked.is_empty() || asked.iter().any(|name| name == case);
    Ok(all.iter().copied().filter(is_chosen).collect())
}

fn print_table(costs: &[Cost], verdicts: &[Verdict]) {
    println!(
        "\n{:<20} {:>12} {:>9} {:>8} {:>12} {:>9} {:>12} {:>14}",
        "a request",
        "instructions",
        "budget",
        "",
        "system calls",
        "allocated",
        "bytes of it",
        "clock readings"
    );
    for (cost, verdict) in costs.iter().zip(verdicts) {
        println!(
            "{:<20} {:>12.0} {:>9} {:>8} {:>12.2} {:>9.2} {:>12.0} {:>14.2}",
            cost.case,
            cost.instructions,
            verdict.budget(),
            verdict.change(),
            cost.system_calls,
            cost.allocations,
            cost.allocated_bytes,
            cost.clock_readings,
        );
    }
}

impl Place {
    /// Counts the cases, as many at once as there are cores; in the order of `cases`.
    fn measure(&self, cases: &[&str]) -> Result<Vec<Cost>> {
        let left = Mutex::new(cases.iter().enumerate().collect::<Vec<_>>());
        let done = Mutex::new(Vec::new());
        let cores = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for _ in 0..cores.min(cases.len()) {
                scope.spawn(|| {
                    while let Some((index, case)) = next(&left) {
                        let cost = self.count(case).with_context(|| format!("case {case}"));
                        if let Ok(mut done) = done.lock() {
                            done.push((index, cost));
                        }
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_default();
        done.sort_by_key(|(index, _)| *index);
        done.into_iter().map(|(_, cost)| cost).collect()
    }

    fn count(&self, case: &str) -> Result<Cost> {
        let printed = self.file(case, "json");
        let profile = self.profile(case);
        let mut valgrind = callgrind::command(&profile, &self.file(case, "valgrind"));
        valgrind
            .arg(&self.program)
            .args([case, &REQUESTS.to_string()])
            .stdout(File::create(&printed)?)
            .stderr(File::create(self.file(case, "log"))?);
        command::run(&mut valgrind, DEADLINE)
            .with_context(|| format!("{} tells more", self.file(case, "log").display()))?;
        let instructions = callgrind::total(&profile)?;
        let printed: Printed = serde_json::from_str(&fs::read_to_string(&printed)?)?;
        #[expect(clippy::cast_precision_loss, reason = "figures far below 2^52")]
        let each = |count: u64| count as f64 / printed.requests as f64;
        Ok(Cost {
            case: case.to_owned(),
            instructions: each(instructions),
            system_calls: each(printed.system_calls),
            allocations: each(printed.allocations),
            allocated_bytes: each(printed.allocated),
            clock_readings: each(printed.clock_readings),
        })
    }

    fn profile(&self, case: &str) -> PathBuf {
        self.file(case, "callgrind")
    }

    fn file(&self, case: &str, extension: &str) -> PathBuf {
        self.folder.join(Path::new(case).with_extension(extension))
    }
}

fn next<T>(left: &Mutex<Vec<T>>) -> Option<T> {
    left.lock().ok()?.pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_which_cases_there_are() {
        let all = ["one", "two"];
        assert_eq!(choose(&all, &[]).unwrap(), all);
        assert_eq!(choose(&all, &["two".to_owned()]).unwrap(), ["two"]);
        let error = choose(&all, &["three".to_owned()]).unwrap_err().to_string();
        assert_eq!(error, "there is no case three: choose of one, two");
    }
}

//! `cargo xtask fuzz`: looks for bytes that break a parser, with libFuzzer, guided by which code they reach.
//!
//! The targets are the programs of tests/fuzz. The compiler's own counters show the fuzzer the way, so no other
//! compiler is needed, and no sanitizer: there is hardly unsafe code to look at. Beginnings come from
//! tests/fuzz/seeds; what is found worth keeping on the way stays in `.cache/fuzz` for the next run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::setup::{self, Purpose};
use crate::{command, workspace};

const PACKAGE: &str = "mesh-fuzz";
const FOLDER: &str = "tests/fuzz";
/// What the names of the programs begin with.
const PREFIX: &str = "fuzz-";
/// Beside the other artifacts: the flags below would have them all built again.
const TARGET: &str = "fuzzing";
/// Cold, the few crates that the targets need.
const BUILD_DEADLINE: Duration = Duration::from_mins(20);
/// For starting, ending, and one input more.
const GRACE: Duration = Duration::from_mins(1);
/// Count and compare in every basic block: the flags that cargo-fuzz sets without a sanitizer.
const FLAGS: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// An input that takes so many seconds is a finding, and so is one that takes so many MiB.
const LIMITS: [&str; 3] = ["-timeout=10", "-rss_limit_mb=1024", "-max_len=4096"];
/// Lines of a failed target's output that are shown.
const SHOWN: usize = 60;
const EXAMPLES: &str = "Examples:
  cargo xtask fuzz                      # every target for 30 s, as many at once as there are cores
  cargo xtask fuzz path --seconds 600   # one target, longer
  cargo xtask fuzz path --input FILE    # what one input does, such as one that was found
  cargo xtask fuzz --list";

/// What to look at, and for how long.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The targets; none: all
    targets: Vec<String>,
    /// How long each target is looked at
    #[arg(long, value_name = "N", default_value_t = 30)]
    seconds: u32,
    /// Give one target this input only
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Show the targets' names and end
    #[arg(long)]
    list: bool,
}

/// How a target went.
struct Finished {
    target: String,
    error: Option<anyhow::Error>,
    /// What the fuzzer says at the end, by name.
    statistics: Vec<(String, String)>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let all = targets()?;
    if arguments.list {
        println!("{}", all.join("\n"));
        return Ok(());
    }
    let chosen = choose(&all, &arguments.targets)?;
    ensure!(arguments.seconds > 0, "--seconds 0 would look at nothing");
    setup::ensure(Purpose::Build)?;
    ensure!(
        command::find("c++").is_some(),
        "c++ compiles the fuzzer and is missing: run `cargo xtask setup`"
    );
    let programs = command::step("build the fuzz targets", build)?;
    if let Some(input) = &arguments.input {
        let [target] = &chosen[..] else {
            bail!("--input wants one target");
        };
        let input = fs::canonicalize(input).with_context(|| format!("cannot read {}", input.display()))?;
        return command::run(Command::new(program(&programs, target)).arg(input), GRACE);
    }
    let what = format!("{} targets, {} s each", chosen.len(), arguments.seconds);
    let mut finished = command::step(&what, || Ok(all_of(chosen, &programs, arguments.seconds)))?;
    finished.sort_by(|one, other| one.target.cmp(&other.target));
    summary(&finished)
}

/// The names of the targets.
fn targets() -> Result<Vec<String>> {
    let manifest = workspace::manifest(Path::new(FOLDER))?;
    let programs = manifest.get("bin").and_then(toml::Value::as_array);
    let names = programs.into_iter().flatten().filter_map(|program| {
        let name = program.get("name")?.as_str()?;
        name.strip_prefix(PREFIX).map(str::to_owned)
    });
    Ok(names.collect())
}

fn choose(all: &[String], asked: &[String]) -> Result<Vec<String>> {
    if let Some(unknown) = asked.iter().find(|name| !all.contains(name)) {
        bail!("there is no target {unknown}: choose of {}", all.join(", "));
    }
    let is_chosen = |target: &&String| asked.is_empty() || asked.contains(target);
    Ok(all.iter().filter(is_chosen).cloned().collect())
}

/// Builds the programs; says where they are.
fn build() -> Result<PathBuf> {
    let rustc = command::output(Command::new("rustc").arg("-vV")).context("rustc does not run")?;
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc names no host")?;
    let folder = workspace::target()?.join(TARGET);
    // With a target named, build scripts and macros are built without the flags.
    let mut cargo = command::cargo([
        "build",
        "--locked",
        "--profile",
        "fuzz",
        "--bins",
        "--target",
        host,
    ]);
    cargo
        .args(["--package", PACKAGE, "--features", "engine", "--target-dir"])
        .arg(&folder)
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    command::run(&mut cargo, BUILD_DEADLINE)?;
    Ok(folder.join(host).join("fuzz"))
}

fn program(programs: &Path, target: &str) -> PathBuf {
    programs.join(format!("{PREFIX}{target}"))
}

/// Runs the targets, as many at once as there are cores.
fn all_of(targets: Vec<String>, programs: &Path, seconds: u32) -> Vec<Finished> {
    let lanes = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(targets.len());
    let waiting = Mutex::new(targets.into_iter());
    let next = || waiting.lock().ok()?.next();
    let lane = || {
        std::iter::from_fn(next)
            .map(|target| one(target, programs, seconds))
            .collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
        let ended = running.into_iter().filter_map(|lane| lane.join().ok());
        ended.flatten().collect()
    })
}

fn one(target: String, programs: &Path, seconds: u32) -> Finished {
    let folder = workspace::cache().join("fuzz").join(&target);
    let log = folder.join("log");
    let error = look(&target, programs, seconds, &folder, &log).err();
    let text = fs::read_to_string(&log).unwrap_or_default();
    if error.is_some() {
        let lines: Vec<&str> = text.lines().collect();
        let shown = lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default();
        eprintln!("--- {target}, the end of {}\n{}", log.display(), shown.join("\n"));
    }
    Finished {
        target,
        error,
        statistics: statistics(&text),
    }
}

fn look(target: &str, programs: &Path, seconds: u32, folder: &Path, log: &Path) -> Result<()> {
    let (corpus, findings) = (folder.join("corpus"), folder.join("found"));
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&findings)?;
    let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut fuzzer = Command::new(program(programs, target));
    fuzzer
        .args(LIMITS)
        .args([
            format!("-max_total_time={seconds}"),
            "-print_final_stats=1".to_owned(),
        ])
        .arg(format!("-artifact_prefix={}/", findings.display()))
        .arg(corpus)
        .arg(workspace::root().join(FOLDER).join("seeds").join(target))
        .stdout(Stdio::from(output.try_clone()?))
        .stderr(Stdio::from(output));
    let deadline = Duration::from_secs(u64::from(seconds)) + GRACE;
    command::run(&mut fuzzer, deadline).with_context(|| {
        let file = fs::read_to_string(log).ok().as_deref().and_then(found);
        format!(
            "{target} found something; `cargo xtask fuzz {target} --input {}` shows it again; once it is mended, \
             keep the file in {FOLDER}/seeds/{target}",
            file.as_deref().unwrap_or("FILE")
        )
    })
}

/// The file with the input that was found, by what libFuzzer says of it.
fn found(text: &str) -> Option<String> {
    let says = |line: &str| {
        line.split_once("Test unit written to ")
            .map(|(_, file)| file.to_owned())
    };
    text.lines().rev().find_map(says)
}

/// `stat::name: value`, of all lines.
fn statistics(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| line.strip_prefix("stat::")?.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

fn summary(finished: &[Finished]) -> Result<()> {
    println!(
        "\n{:<12} {:<8} {:>12} {:>10}",
        "target", "result", "inputs", "a second"
    );
    for Finished {
        target,
        error,
        statistics,
    } in finished
    {
        let result = if error.is_none() { "ok" } else { "FAILED" };
        let value = |wanted: &str| {
            let found = statistics.iter().find(|(name, _)| name == wanted);
            found.map_or("?", |(_, value)| value.as_str())
        };
        println!(
            "{target:<12} {result:<8} {:>12} {:>10}",
            value("number_of_executed_units"),
            value("average_exec_per_sec")
        );
    }
    let mut failed = Vec::new();
    for one in finished {
        if let Some(error) = &one.error {
            eprintln!("    {error:#}");
            failed.push(one.target.as_str());
        } else if one.statistics.is_empty() {
            failed.push(one.target.as_str());
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_targets_and_their_seeds() {
        let all = targets().unwrap();
        for name in ["detect", "guard-h1", "guard-h2", "headers", "path", "route"] {
            assert!(all.iter().any(|target| target == name), "{name} of {all:?}");
        }
        for target in all {
            let seeds = workspace::root().join(FOLDER).join("seeds").join(&target);
            assert!(seeds.is_dir(), "{} is missing", seeds.display());
        }
    }

    #[test]
    fn names_the_file_with_the_input_that_was_found() {
        let text = "x\nartifact_prefix='/a/'; Test unit written to /a/crash-1\nBase64: eA==\n";
        assert_eq!(found(text).as_deref(), Some("/a/crash-1"));
        assert_eq!(found("x\n"), None);
    }

    #[test]
    fn says_which_targets_there_are() {
        let all = ["path", "route"].map(str::to_owned);
        assert_eq!(choose(&all, &[]).unwrap(), all);
        assert_eq!(choose(&all, &["route".to_owned()]).unwrap(), ["route"]);
        let error = choose(&all, &["x".to_owned()]).unwrap_err().to_string();
        assert_eq!(error, "there is no target x: choose of path, route");
    }

    #[test]
    fn fails_when_a_target_failed_or_ran_nothing() {
        let finished = |error, text: &str| Finished {
            target: "path".to_owned(),
            error,
            statistics: statistics(text),
        };
        let end = "Done\nstat::number_of_executed_units: 12\nstat::average_exec_per_sec:     4\n";
        assert_eq!(
            statistics(end)[0],
            ("number_of_executed_units".to_owned(), "12".to_owned())
        );
        assert!(summary(&[finished(None, end)]).is_ok());
        assert!(summary(&[finished(None, "")]).is_err());
        assert!(summary(&[finished(None, end), finished(Some(anyhow::anyhow!("x")), end)]).is_err());
    }
}

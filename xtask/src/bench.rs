//! `cargo xtask bench`: what the mesh costs, beside a direct connection and beside Envoy, in one run.
//!
//! Installs and builds what is needed, then hands its options to `mesh-bench` (tests/bench), which measures.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use crate::setup::{self, Purpose, tools};
use crate::{build, command, workspace};

/// A full run is a little more than an hour; whoever asks for more rounds gets more.
const DEADLINE: Duration = Duration::from_hours(6);
/// What `mesh-bench` knows, here too so that a wrong name is told before anything is built.
const CASES: [&str; 11] = [
    "l4",
    "l7-http1",
    "l7-http2",
    "grpc",
    "bulk",
    "new-connections",
    "handshakes",
    "routes",
    "churn",
    "open-loop",
    "memory",
];
const PLACES: [&str; 2] = ["same-node", "between-nodes"];
const SIZES: [&str; 3] = ["0.1KiB", "1KiB", "64KiB"];
const PEERS: [&str; 3] = ["direct", "nodemesh", "envoy"];
const EXAMPLES: &str = "Examples:
  cargo xtask bench --quick                    # the cases of the targets, under 3 minutes
  cargo xtask bench                            # every case, about an hour
  cargo xtask bench --case l7-http1 --place between-nodes --connections 32 --size 1KiB --peers nodemesh,envoy
  cargo xtask bench --quick --output json > run.json
  cargo xtask bench --case l7-http1 --connections 32 --size 1KiB --peers nodemesh --rounds 1 --profile flames
  cargo xtask bench --quick --binaries ../before   # a build that was set aside, such as a copy of target/release
  cargo xtask bench --smoke                    # whether the bench works, under a minute; says nothing of speed

As root: it makes namespaces and loads kernel programs. Results and how they come about: docs/performance.md.";

/// What to measure, and how long.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Kinds of cases; none: all
    #[arg(long = "case", value_name = "NAMES", value_delimiter = ',', value_parser = CASES)]
    cases: Vec<String>,
    /// Where client and server are; none: both
    #[arg(long = "place", value_name = "NAMES", value_delimiter = ',', value_parser = PLACES)]
    places: Vec<String>,
    /// How many connections; none: 1, 32 and 256
    #[arg(long, value_name = "N", value_delimiter = ',')]
    connections: Vec<u32>,
    /// How large answers are; none: all
    #[arg(long = "size", value_name = "SIZES", value_delimiter = ',', value_parser = SIZES)]
    sizes: Vec<String>,
    /// Who is measured; none: all
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = PEERS)]
    peers: Vec<String>,
    /// How often everybody has a turn; by default 5, and with --quick 3 for some
    #[arg(long, value_name = "N")]
    rounds: Option<u32>,
    /// How long a turn takes; by default 2 (the open loop: 5), with --quick 1 (the open loop: 3)
    #[arg(long, value_name = "N")]
    seconds: Option<u32>,
    /// Requests a second of the open loop; by default half of what Envoy can do
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Only the cases that have targets
    #[arg(long, conflicts_with_all = ["cases", "smoke"])]
    quick: bool,
    /// One case in one short round, to see that the bench works; says nothing of speed
    #[arg(long, conflicts_with = "cases")]
    smoke: bool,
    /// Write flame graphs of the proxies into this folder, one for each process and case
    #[arg(long, value_name = "FOLDER")]
    profile: Option<PathBuf>,
    /// Write a plot of the ratios (SVG)
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Measure the binaries in this folder instead of building those of this source
    #[arg(long, value_name = "FOLDER", conflicts_with = "profile")]
    binaries: Option<PathBuf>,
    /// What is printed
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Output {
    /// Tables for people
    Table,
    /// Tables as docs/performance.md has them
    Markdown,
    /// Everything, raw rounds included
    Json,
}

/// What `mesh-bench` is handed: `mesh_bench::plan::Plan`.
#[derive(Debug, Serialize)]
struct Plan<'a> {
    cases: &'a [String],
    places: &'a [String],
    connections: &'a [u32],
    sizes: &'a [String],
    peers: &'a [String],
    rounds: Option<u32>,
    seconds: Option<u32>,
    rate: Option<f64>,
    quick: bool,
    smoke: bool,
    profile: Option<PathBuf>,
    plot: Option<PathBuf>,
    output: Output,
    binaries: Option<PathBuf>,
    envoy: PathBuf,
    oha: Option<PathBuf>,
    inferno: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!(
        command::is_root(),
        "the bench makes namespaces and loads kernel programs: try sudo -E env \"PATH=$PATH\" cargo xtask bench"
    );
    setup::ensure(Purpose::Bench)?;
    let plan = plan(arguments)?;
    let binaries = binaries(arguments)?;
    build::bench()?;
    let mut bench = Command::new(workspace::target()?.join("release/mesh-bench"));
    bench
        .arg(serde_json::to_string(&plan)?)
        .env("MESH_BIN_DIR", &binaries);
    measure(&mut bench)
}

/// The folder of the binaries that are measured.
fn binaries(arguments: &Arguments) -> Result<PathBuf> {
    if let Some(folder) = &arguments.binaries {
        return std::path::absolute(folder).with_context(|| format!("no path: {}", folder.display()));
    }
    if arguments.profile.is_some() {
        return build::profiling();
    }
    build::release()?;
    Ok(workspace::target()?.join("release"))
}

/// Runs the bench with our own input and output. Its command line is not for people: errors do not show it.
fn measure(bench: &mut Command) -> Result<()> {
    command::run(bench, DEADLINE)
        .map_err(|_| anyhow::anyhow!("the bench failed: what it says above says why"))
}

fn plan(arguments: &Arguments) -> Result<Plan<'_>> {
    let wants_oha = !arguments.smoke && is_open_loop_wanted(&arguments.cases);
    Ok(Plan {
        cases: &arguments.cases,
        places: &arguments.places,
        connections: &arguments.connections,
        sizes: &arguments.sizes,
        peers: &arguments.peers,
        rounds: arguments.rounds,
        seconds: arguments.seconds,
        rate: arguments.rate,
        quick: arguments.quick,
        smoke: arguments.smoke,
        profile: absolute(arguments.profile.as_deref())?,
        plot: absolute(arguments.plot.as_deref())?,
        output: arguments.output,
        binaries: absolute(arguments.binaries.as_deref())?,
        envoy: tools::envoy()?,
        oha: wants_oha.then(tools::oha).transpose()?,
        inferno: arguments.profile.as_ref().map(|_| tools::inferno()).transpose()?,
    })
}

/// Only the open loop needs oha, which takes minutes to compile.
fn is_open_loop_wanted(cases: &[String]) -> bool {
    cases.is_empty() || cases.iter().any(|case| case == "open-loop")
}

/// Paths are the caller's, and stay so whatever folder the bench is started in.
fn absolute(path: Option<&std::path::Path>) -> Result<Option<PathBuf>> {
    path.map(|path| std::path::absolute(path).with_context(|| format!("no path: {}", path.display())))
        .transpose()
}

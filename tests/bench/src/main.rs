//! The bench's program; `cargo xtask bench` calls it with a plan.

mod progress;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use mesh_bench::cases::{self, Job, Work};
use mesh_bench::group::Measured;
use mesh_bench::machine::Machine;
use mesh_bench::memory;
use mesh_bench::plan::{Output, Peer, Plan};
use mesh_bench::plot;
use mesh_bench::report::Report;
use mesh_bench::stage::{Extras, Stage};

use progress::Progress;

/// Some thousand samples of each process.
const PROFILE_SECONDS: u32 = 5;
/// Where Envoy's maximum is taken from, if it was measured before the open loop.
const MAXIMUM: &str = "l7-http1.between-nodes.c32.1KiB";
/// How long Envoy's maximum is looked for, if it was not.
const MAXIMUM_SECONDS: u32 = 3;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let argument = std::env::args()
        .nth(1)
        .context("call this by `cargo xtask bench`")?;
    let plan = Plan::parse(&argument)?;
    let jobs = cases::jobs(&plan)?;
    ensure!(
        !jobs.is_empty(),
        "nothing of what was asked for has anything to measure: direct has no proxies, so it is in no case of theirs"
    );
    let machine = Machine::look(&plan);
    let mut bench = Bench {
        progress: Progress::new(&jobs),
        plan,
        measured: Vec::new(),
        failures: Vec::new(),
    };
    bench.memory(&jobs);
    bench.groups(&jobs)?;
    let Bench {
        plan,
        measured,
        failures,
        ..
    } = bench;
    finish(&Report::new(machine, plan, measured, failures))
}

/// A run under way. A case that fails is told at once and at the end, and the others go on.
struct Bench {
    plan: Plan,
    progress: Progress,
    measured: Vec<Measured>,
    failures: Vec<String>,
}

// === impl Bench ===

impl Bench {
    /// Memory comes first, whatever its place: it wants fresh processes.
    fn memory(&mut self, jobs: &[Job]) {
        for job in jobs.iter().filter(|job| job.work == Work::Memory) {
            let progress = &mut self.progress;
            let measured = memory::measure(&self.plan, &job.peers, job.seconds, |what| progress.say(what));
            self.note("memory", measured);
        }
    }

    fn groups(&mut self, jobs: &[Job]) -> Result<()> {
        let jobs: Vec<&Job> = jobs.iter().filter(|job| job.work != Work::Memory).collect();
        if jobs.is_empty() {
            return Ok(());
        }
        let extras = Extras {
            many: jobs.iter().any(|job| job.extras().many),
            churn: jobs.iter().any(|job| job.extras().churn),
        };
        self.progress.say("two nodes, pods, servers, proxies");
        let mut stage = Stage::open(&self.plan, extras)?;
        for job in jobs {
            let name = format!("{:?}", job.work);
            let done = self.one(&mut stage, job);
            self.note(&name, done);
        }
        Ok(())
    }

    fn one(&mut self, stage: &mut Stage, job: &Job) -> Result<Measured> {
        let rate = |stage: &mut Stage| self.rate(stage);
        let group = job.group(stage, &self.plan, rate)?;
        let group = group.context("memory is measured by itself")?;
        let progress = &mut self.progress;
        let measured = group.run(stage, job.rounds, job.seconds, |what| {
            progress.turn(what, job.seconds);
        })?;
        if let (Some(folder), Some(inferno)) = (&self.plan.profile, &self.plan.inferno) {
            for file in group.profile(folder, inferno, job.seconds.max(PROFILE_SECONDS))? {
                self.progress.say(&format!("wrote {}", file.display()));
            }
        }
        Ok(measured)
    }

    /// Half of what Envoy can do: both peers keep it with ease, so that latency is not that of a queue.
    fn rate(&self, stage: &mut Stage) -> Result<f64> {
        if let Some(rate) = self.plan.rate {
            return Ok(rate);
        }
        let known = self.measured.iter().find(|one| one.key == MAXIMUM);
        let known = known.and_then(|one| Some(one.summary.get("envoy")?.get("requests")?.median));
        if let Some(most) = known {
            return Ok(most / 2.0);
        }
        ensure!(
            self.plan.has(Peer::Envoy),
            "the rate of the open loop is half of Envoy's maximum: name envoy among --peers, or a --rate"
        );
        let load = cases::load(stage, &self.plan, Peer::Envoy, 32)?;
        load.check()?;
        Ok(load.run(MAXIMUM_SECONDS)?.rate / 2.0)
    }

    fn note(&mut self, name: &str, done: Result<Measured>) {
        match done {
            Ok(measured) => self.measured.push(measured),
            Err(error) => {
                let failure = format!("{name}: {error:#}");
                self.progress.say(&format!("FAILED {failure}"));
                self.failures.push(failure);
            }
        }
    }
}

fn finish(report: &Report) -> Result<()> {
    if let Some(file) = &report.plan.plot {
        fs::write(file, plot::draw(&report.targets)?).with_context(|| format!("write {}", file.display()))?;
    }
    let text = match report.plan.output {
        Output::Table => report.text()?,
        Output::Markdown => report.markdown()?,
        Output::Json => serde_json::to_string_pretty(report)?,
    };
    println!("{text}");
    ensure!(
        report.failures.is_empty(),
        "{} cases could not be measured, see above",
        report.failures.len()
    );
    report.ensure_complete()
}

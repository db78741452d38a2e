//! Resident memory of the proxies: at rest, under many connections, and what an idle connection takes.
//!
//! On fresh processes, once: an allocator keeps what it had under load for a while, so what is measured later would tell
//! of what came before.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::cases::{self, PAIRS};
use crate::group::{self, Figures, Measured, Round};
use crate::load::hold;
use crate::plan::{Distance, Named as _, Peer, Plan};
use crate::servers::Way;
use crate::stage::{Extras, Stage};

/// Connections at once of the load.
const ACTIVE: u32 = 1000;
/// Idle connections of each kind.
const IDLE: u32 = 2000;
/// What came with the start is over, and the pages that it freed are given back (10 s in jemalloc): else they would be
/// counted as the proxy's, or be where the first connections find their room for nothing.
const REST: Duration = Duration::from_secs(12);
/// What came with the connections is over.
const SETTLE: Duration = Duration::from_secs(2);
/// Between two looks at a process under load.
const LOOK: Duration = Duration::from_millis(20);
const WHERE: Distance = Distance::BetweenNodes;

/// All of it, for each peer that has proxies.
pub fn measure(plan: &Plan, peers: &[Peer], seconds: u32, mut told: impl FnMut(&str)) -> Result<Measured> {
    let mut round = Round::new();
    told("memory: at rest, and under 1,000 connections");
    let mut stage = Stage::open(plan, Extras::default())?;
    thread::sleep(REST);
    let mut commands = BTreeMap::new();
    for &peer in peers {
        let figures = round.entry(peer.name().to_owned()).or_default();
        figures.insert(
            "rest_mb".to_owned(),
            megabytes(most(&resident(&mut stage, peer)?)),
        );
    }
    for &peer in peers {
        let (peak, command) = under_load(&mut stage, plan, peer, seconds)?;
        let figures = round.entry(peer.name().to_owned()).or_default();
        figures.insert("active_peak_mb".to_owned(), megabytes(peak));
        commands.insert(peer.name().to_owned(), command);
    }
    drop(stage);
    told("memory: of idle connections");
    let mut stage = Stage::open(plan, Extras::default())?;
    for &peer in peers {
        let figures = round.entry(peer.name().to_owned()).or_default();
        let idle = idle(&mut stage, plan, peer);
        figures.extend(idle.with_context(|| format!("idle connections of {}", peer.name()))?);
    }
    let rounds = vec![round];
    Ok(Measured {
        key: "memory".to_owned(),
        counted: "bytes".to_owned(),
        unit: "proxy".to_owned(),
        seconds,
        commands,
        summary: group::summaries(&rounds),
        ratios: group::ratios("memory", &PAIRS, false, &rounds),
        rounds,
    })
}

/// The most that one of a peer's proxies has while many connections ask.
fn under_load(stage: &mut Stage, plan: &Plan, peer: Peer, seconds: u32) -> Result<(u64, String)> {
    let load = cases::load(stage, plan, peer, ACTIVE)?;
    load.check()?;
    let running = load.clone();
    let thread = thread::spawn(move || running.run(seconds));
    let mut peak = 0;
    while !thread.is_finished() {
        peak = peak.max(most(&resident(stage, peer)?));
        thread::sleep(LOOK);
    }
    let ran = thread.join().map_err(|_| anyhow!("the load panicked"))?;
    ran.with_context(|| format!("memory of {} under load", peer.name()))?;
    Ok((peak, load.command(seconds)))
}

/// Bytes of both proxies for one idle connection that is bytes to them, and for one that is HTTP.
fn idle(stage: &mut Stage, plan: &Plan, peer: Peer) -> Result<Figures> {
    cases::load(stage, plan, peer, 1)?.check()?;
    thread::sleep(REST);
    let from = stage.client(peer).place.clone();
    let mut figures = Figures::new();
    let mut held = Vec::new();
    for (name, way) in [("idle_l4_bytes", Way::Bytes), ("idle_l7_bytes", Way::Http1)] {
        let before: u64 = resident(stage, peer)?.iter().sum();
        // Those that were opened before stay, so that what they leave is not taken for free.
        held.push(hold::open(&from, stage.target(peer, WHERE, way)?, IDLE)?);
        thread::sleep(SETTLE);
        let after: u64 = resident(stage, peer)?.iter().sum();
        let grown = u32::try_from(after.saturating_sub(before)).context("grown by more than 4 GiB")?;
        figures.insert(name.to_owned(), f64::from(grown) / f64::from(IDLE));
    }
    Ok(figures)
}

/// Bytes of each of a peer's proxies: VmRSS of /proc/PID/status (proc_pid_status(5)).
fn resident(stage: &mut Stage, peer: Peer) -> Result<Vec<u64>> {
    let of = |process: u32| {
        let path = format!("/proc/{process}/status");
        let status = fs::read_to_string(&path).with_context(|| format!("read {path}: has a proxy ended?"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        Ok(kib.with_context(|| format!("no VmRSS in {path}: has a proxy ended?"))? * 1024)
    };
    let processes = stage.processes(peer)?;
    processes.iter().map(|watched| of(watched.process)).collect()
}

fn most(bytes: &[u64]) -> u64 {
    bytes.iter().copied().max().unwrap_or_default()
}

/// Of a thousand thousand bytes.
fn megabytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1000).unwrap_or(u32::MAX)) / 1000.0
}

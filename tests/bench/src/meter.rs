//! CPU time: of proxies by their cgroups, and of the whole machine.
//!
//! The kernel accounts what it does for a socket's peer, such as the softirqs of the receiving side, to whoever runs
//! at the time: it may be the other proxy, or the client. So the machine's time stands beside the cgroups'.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

/// Ticks of /proc/stat a second: USER_HZ is 100 on every architecture that we build for.
const TICKS: f64 = 100.0;

/// A reading of both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    proxies: Duration,
    machine: f64,
}

/// CPU time between two readings, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spent {
    /// By the proxies' cgroups.
    pub proxies: f64,
    /// By everything on the machine.
    pub machine: f64,
}

// === impl Reading ===

impl Reading {
    /// Of these cgroups, and of the machine, now.
    pub fn now(cgroups: &[PathBuf]) -> Result<Self> {
        let mut proxies = Duration::ZERO;
        for cgroup in cgroups {
            proxies += usage(cgroup)?;
        }
        let stat = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
        let busy = busy_ticks(&stat).context("/proc/stat has no line of all CPUs")?;
        Ok(Self {
            proxies,
            machine: busy / TICKS * 1e6,
        })
    }

    /// What was spent from here to a later one.
    pub fn until(&self, later: &Self) -> Spent {
        Spent {
            proxies: later.proxies.saturating_sub(self.proxies).as_secs_f64() * 1e6,
            machine: later.machine - self.machine,
        }
    }
}

/// The CPU time of a cgroup and those below it: `usage_usec` of cpu.stat (the kernel's cgroup-v2.rst).
fn usage(cgroup: &Path) -> Result<Duration> {
    let path = cgroup.join("cpu.stat");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let value = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
    let value = value.with_context(|| format!("{} has no usage_usec", path.display()))?;
    Ok(Duration::from_micros(value.trim().parse()?))
}

/// Ticks that all CPUs were busy: user, nice, system, irq and softirq (proc_stat(5)). Time that the host of a
/// virtual machine took for others is not ours.
fn busy_ticks(stat: &str) -> Option<f64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<f64> = line
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    let at = |index: usize| fields.get(index).copied();
    Some(at(0)? + at(1)? + at(2)? + at(5)? + at(6)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_waiting_and_stolen_time_is_not_busy() {
        let stat = "cpu  10 20 30 1000 2000 5 7 9000 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy_ticks(stat), Some(72.0));
        assert_eq!(busy_ticks("cpu0 1 1 1 1\n"), None);
    }
}

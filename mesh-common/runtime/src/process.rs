//! What the kernel says of this process, read from /proc at each scrape (proc(5)).
//!
//! The names are those every Prometheus client library gives to process metrics, so that existing dashboards
//! work. A value that cannot be read is left out rather than reported as 0.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Clock ticks a second in /proc/self/stat: USER_HZ, 100 on every Linux architecture that Rust supports.
const TICKS_PER_SECOND: f64 = 100.0;

/// Fields of /proc/self/stat after the command's closing parenthesis: field 3 of proc(5) has index 0.
const STAT_USER_TIME: usize = 14 - 3;
const STAT_SYSTEM_TIME: usize = 15 - 3;
const STAT_START_TIME: usize = 22 - 3;

/// Collects the process's metrics.
#[derive(Debug)]
pub(crate) struct ProcessCollector;

/// The numbers of /proc/self/stat that are reported, in seconds.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu: f64,
    start_after_boot: f64,
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(bytes) = resident_bytes() {
            let name = "process_resident_memory";
            gauge(
                &mut encoder,
                name,
                "Resident memory",
                Some(&Unit::Bytes),
                &ConstGauge::new(bytes),
            )?;
        }
        if let Some(count) = open_files() {
            let name = "process_open_fds";
            gauge(
                &mut encoder,
                name,
                "Open file descriptors",
                None,
                &ConstGauge::new(count),
            )?;
        }
        let Some(stat) = read("/proc/self/stat").as_deref().and_then(parse_stat) else {
            return Ok(());
        };
        let cpu = ConstCounter::new(stat.cpu);
        let help = "User and system processor time";
        let metric =
            encoder.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), cpu.metric_type())?;
        cpu.encode(metric)?;
        if let Some(boot) = read("/proc/stat").as_deref().and_then(parse_boot_time) {
            let start = ConstGauge::new(boot + stat.start_after_boot);
            let help = "Start of the process, since the Unix epoch";
            gauge(
                &mut encoder,
                "process_start_time",
                help,
                Some(&Unit::Seconds),
                &start,
            )?;
        }
        Ok(())
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: &impl EncodeMetric,
) -> fmt::Result {
    let metric = encoder.encode_descriptor(name, help, unit, value.metric_type())?;
    value.encode(metric)
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn resident_bytes() -> Option<i64> {
    parse_resident(&read("/proc/self/status")?)
}

fn parse_resident(status: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

fn open_files() -> Option<i64> {
    // The directory's own descriptor is one of them.
    let count = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    i64::try_from(count).ok()
}

fn parse_stat(stat: &str) -> Option<Stat> {
    // The command may itself hold spaces and parentheses: the last one closes it.
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let seconds = |index: usize| Some(fields.get(index)?.parse::<f64>().ok()? / TICKS_PER_SECOND);
    Some(Stat {
        cpu: seconds(STAT_USER_TIME)? + seconds(STAT_SYSTEM_TIME)?,
        start_after_boot: seconds(STAT_START_TIME)?,
    })
}

fn parse_boot_time(stat: &str) -> Option<f64> {
    stat.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_stat_line_whose_command_has_spaces() {
        let line = "42 (a (b) c) S 1 1 1 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 1234 0 0";
        assert_eq!(
            parse_stat(line),
            Some(Stat {
                cpu: 2.0,
                start_after_boot: 12.34
            })
        );
        assert_eq!(parse_stat("42 (a) S 1"), None);
    }

    #[test]
    fn reads_resident_memory_in_bytes() {
        assert_eq!(parse_resident("Name:\ta\nVmRSS:\t    2048 kB\n"), Some(2_097_152));
        assert_eq!(parse_resident("Name:\ta\n"), None);
    }

    #[test]
    fn reads_this_process() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 100_000));
        assert!(open_files().is_some_and(|count| count >= 3));
        assert!(read("/proc/stat").as_deref().and_then(parse_boot_time).is_some());
    }
}

//! h2load (nghttp2): HTTP/2, and gRPC's unary calls, in a closed loop, with one thread.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use mesh_harness::{Finished, Program};

use super::{CALL, Kind, Load, Outcome, call_file, ensure_length};
use crate::plan::Size;

pub(super) fn arguments(load: &Load, streams: u32, seconds: u32, more: &[String]) -> Vec<String> {
    let mut arguments = vec![
        "-t1".to_owned(),
        format!("-c{}", load.connections),
        format!("-m{streams}"),
        format!("-D{seconds}"),
        "-T5".to_owned(),
    ];
    arguments.extend_from_slice(more);
    arguments
}

/// What makes a request a unary call of gRPC.
pub(super) fn call(load: &Load, size: Size) -> Vec<String> {
    vec![
        "-H".to_owned(),
        "content-type: application/grpc".to_owned(),
        "-H".to_owned(),
        "te: trailers".to_owned(),
        "-d".to_owned(),
        load.file(&call_file(size)).display().to_string(),
        format!("http://{}{CALL}", load.target),
    ]
}

/// Writes what the arguments name, and asks for a line for each request, which costs a system call: only where requests
/// are few, and the median is wanted.
pub(super) fn prepare(load: &Load, program: Program) -> Result<Program> {
    if let Kind::Grpc { size, .. } = load.kind {
        load.write_call(size)?;
    }
    let Some(log) = log(load) else {
        return Ok(program);
    };
    if log.exists() {
        fs::remove_file(&log).with_context(|| format!("remove {}", log.display()))?;
    }
    Ok(program.arg("--log-file").arg(log))
}

fn log(load: &Load) -> Option<PathBuf> {
    let (Kind::Http2 { streams, .. } | Kind::Grpc { streams, .. }) = load.kind else {
        return None;
    };
    (load.connections * streams == 1).then(|| load.file("h2load.tsv"))
}

/// Whether it was killed after the time was over and all clients were stopped. With many connections it sometimes waits
/// for ever then (1.52), and says nothing of what it measured.
pub(super) fn is_stuck(finished: &Finished) -> bool {
    let said = String::from_utf8_lossy(&finished.stdout);
    finished.code().is_none() && said.contains("Stopped all clients") && !said.contains("finished in ")
}

/// What came of it; `length` is each answer's.
pub(super) fn read(load: &Load, text: &str, length: usize) -> Result<Outcome> {
    let mut outcome = report(text, length)?;
    if let Some(log) = log(load) {
        let text = fs::read_to_string(&log).with_context(|| format!("read {}", log.display()))?;
        outcome.latencies.extend(percentiles(&text));
    }
    Ok(outcome)
}

fn report(text: &str, length: usize) -> Result<Outcome> {
    let said = || format!("h2load said:\n{text}");
    let line = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
    let numbers = |line: &str| -> Vec<f64> {
        line.split(|other: char| !other.is_ascii_digit())
            .filter_map(|word| word.parse().ok())
            .collect()
    };
    let finished = line("finished in ").with_context(said)?;
    let rate = finished
        .split(", ")
        .nth(1)
        .and_then(|part| part.strip_suffix(" req/s"));
    let rate: f64 = rate.with_context(said)?.parse()?;
    // total, started, done, succeeded, failed, errored, timeout
    let requests = numbers(line("requests: ").with_context(said)?);
    let statuses = numbers(line("status codes: ").with_context(said)?);
    ensure!(requests.len() == 7 && statuses.len() == 8, said());
    let (done, succeeded) = (requests[2], requests[3]);
    let is_clean = requests[4..].iter().all(|count| *count == 0.0);
    // "N 2xx, N 3xx, N 4xx, N 5xx": the numbers of the names stand between those of the answers.
    let others = [2, 4, 6].iter().any(|at| statuses[*at] != 0.0);
    ensure!(
        is_clean && !others && (done - succeeded).abs() < 0.5,
        "requests failed: figures with errors in them mean nothing; see the proxies' logs; {}",
        said()
    );
    let data = line("traffic: ").and_then(|line| line.rsplit('(').next());
    let data = data.and_then(|part| part.split(')').next()?.parse().ok());
    ensure_length(succeeded, data.with_context(said)?, length)?;
    let mean = line("time for request: ").and_then(|line| line.split_whitespace().nth(2));
    let mean = mean.and_then(microseconds).with_context(said)?;
    Ok(Outcome {
        count: succeeded,
        rate,
        latencies: vec![("mean", mean)],
    })
}

/// `47us`, `5.26ms`, `1.20s`.
fn microseconds(text: &str) -> Option<f64> {
    [("us", 1.0), ("ms", 1e3), ("s", 1e6)]
        .iter()
        .find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor))
}

/// Of a log's lines "start, status, microseconds".
fn percentiles(log: &str) -> Vec<(&'static str, f64)> {
    let mut all: Vec<u32> = log
        .lines()
        .filter_map(|line| line.split('\t').nth(2)?.parse().ok())
        .collect();
    all.sort_unstable();
    let at = |per_mille: usize| {
        let place = (all.len() * per_mille / 1000).min(all.len().saturating_sub(1));
        all.get(place).copied().map(f64::from)
    };
    [("p50", 500), ("p99", 990), ("p99.9", 999)]
        .into_iter()
        .filter_map(|(name, per_mille)| Some((name, at(per_mille)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::*;

    const SAID: &str = "\nfinished in 3.00s, 41234.33 req/s, 45.67MB/s
requests: 123703 total, 123735 started, 123703 done, 123703 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 123703 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 137.01MB (143663648) total, 2.36MB (2474060) headers (space savings 95.15%), 120.80MB (126671872) data
                     min         max         mean         sd        +/- sd
time for request:      141us      5.26ms       771us       113us    88.06%
time for connect:       96us       712us       377us       180us    59.38%
";

    #[test]
    fn reads_the_report() {
        let outcome = report(SAID, 1024).unwrap();
        assert_eq!(outcome.count.to_bits(), 123_703_f64.to_bits());
        assert_eq!(outcome.rate.to_bits(), 41234.33_f64.to_bits());
        assert_eq!(outcome.latencies, [("mean", 771.0)]);
    }

    #[test]
    fn refuses_a_run_with_any_error() {
        for (right, wrong) in [
            ("0 failed", "2 failed"),
            ("0 errored", "2 errored"),
            ("0 timeout", "2 timeout"),
            ("123703 2xx, 0 3xx", "123701 2xx, 2 3xx"),
            ("0 5xx", "2 5xx"),
            ("(126671872)", "(26671872)"),
            ("123703 succeeded", "123701 succeeded"),
        ] {
            assert!(report(&SAID.replace(right, wrong), 1024).is_err(), "{wrong}");
        }
    }

    #[test]
    fn is_stuck_when_it_was_killed_after_its_work_and_said_nothing_of_it() {
        let finished = |signal: i32, stdout: &str| Finished {
            command: String::new(),
            status: ExitStatus::from_raw(signal),
            stdout: stdout.as_bytes().to_vec(),
            stderr: String::new(),
        };
        let stopped = "Stopped all clients for thread #0\n";
        assert!(is_stuck(&finished(9, stopped)));
        assert!(!is_stuck(&finished(9, "Main benchmark duration is started\n")));
        assert!(!is_stuck(&finished(0, &format!("{stopped}{SAID}"))));
    }

    #[test]
    fn reads_times_of_every_unit_and_percentiles_of_the_log() {
        let times: Vec<_> = ["47us", "5.5ms", "2s", "x"].map(microseconds).to_vec();
        assert_eq!(times, [Some(47.0), Some(5500.0), Some(2e6), None]);
        let log: Vec<String> = (1..=1000).map(|at| format!("1\t200\t{at}")).collect();
        assert_eq!(
            percentiles(&log.join("\n")),
            [("p50", 501.0), ("p99", 991.0), ("p99.9", 1000.0)]
        );
        assert_eq!(percentiles(""), []);
    }
}

//! wrk: HTTP/1.1 in a closed loop, with one thread.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use mesh_harness::Program;

use super::{Load, Outcome, ensure_length};
use crate::plan::Size;

/// Says at the end what the usual report rounds: requests, microseconds, errors by kind, percentiles.
const SCRIPT: &str = r#"done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("@ %d %d %d %d %d %d %d %d %d %d %d\n", summary.requests, summary.duration, summary.bytes,
    e.connect, e.read, e.write, e.timeout, e.status,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
"#;
const ERRORS: [&str; 5] = ["connect", "read", "write", "timeout", "status"];
const PERCENTILES: [&str; 3] = ["p50", "p99", "p99.9"];

pub(super) fn arguments(load: &Load, size: Size, closing: bool, seconds: u32) -> Vec<String> {
    let mut arguments = vec![
        "-t1".to_owned(),
        format!("-c{}", load.connections),
        format!("-d{seconds}s"),
        "--timeout".to_owned(),
        "5s".to_owned(),
    ];
    if closing {
        arguments.extend(["-H".to_owned(), "Connection: close".to_owned()]);
    }
    arguments.push(load.url(size));
    arguments
}

pub(super) fn prepare(load: &Load, program: Program) -> Result<Program> {
    let script = load.file("report.lua");
    fs::write(&script, SCRIPT).with_context(|| format!("write {}", script.display()))?;
    Ok(program.arg("-s").arg(script))
}

pub(super) fn read(text: &str, size: Size) -> Result<Outcome> {
    let line = text.lines().find_map(|line| line.strip_prefix("@ "));
    let line = line.with_context(|| format!("wrk said {text:?}"))?;
    let numbers = line.split(' ').map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    let [requests, microseconds, bytes, rest @ ..] = numbers.as_slice() else {
        bail!("wrk said {line:?}");
    };
    ensure!(
        rest.len() == ERRORS.len() + PERCENTILES.len(),
        "wrk said {line:?}"
    );
    let (errors, percentiles) = rest.split_at(ERRORS.len());
    for (kind, count) in ERRORS.iter().zip(errors) {
        ensure!(
            *count == 0.0,
            "{count} requests of {requests} failed ({kind}): figures with errors in them mean nothing; \
             see the proxies' logs"
        );
    }
    ensure_length(*requests, *bytes, size.bytes())?;
    Ok(Outcome {
        count: *requests,
        rate: requests / (microseconds / 1e6),
        latencies: PERCENTILES.into_iter().zip(percentiles.iter().copied()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_script_says() {
        let outcome = read(
            "Running 3s test\n@ 30000 3000000 39000000 0 0 0 0 0 900 2500 7000\n",
            Size::One,
        )
        .unwrap();
        assert_eq!(outcome.count.to_bits(), 30000_f64.to_bits());
        assert_eq!(outcome.rate.to_bits(), 10000_f64.to_bits());
        assert_eq!(
            outcome.latencies,
            [("p50", 900.0), ("p99", 2500.0), ("p99.9", 7000.0)]
        );
    }

    #[test]
    fn refuses_a_run_with_any_error() {
        let error = read("@ 30000 3000000 39000000 0 0 0 0 3 900 2500 7000\n", Size::One).unwrap_err();
        assert!(
            error.to_string().contains("3 requests of 30000 failed (status)"),
            "{error}"
        );
        assert!(
            read(
                "unable to connect to 10.96.0.1:80 Connection refused\n",
                Size::One
            )
            .is_err()
        );
        let short = "@ 30000 3000000 9000000 0 0 0 0 0 900 2500 7000\n";
        assert!(read(short, Size::One).is_err());
    }
}

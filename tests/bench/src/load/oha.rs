//! oha: HTTP/1.1 at a fixed rate. Latency counts from the moment that a request was due, not from when a connection was
//! free for it: who is slow is not spared the requests that it delays (coordinated omission).

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Load, Outcome};
use crate::plan::Size;

/// Requests that end with the time are not answered, and none of anybody's fault: at most as many as connections, and
/// two at each in a queue.
const CUT_OFF: &str = "aborted due to deadline";
/// Who keeps less than this of the rate was not measured at that rate.
const KEPT: f64 = 0.95;

pub(super) fn arguments(load: &Load, size: Size, rate: f64, seconds: u32) -> Vec<String> {
    vec![
        "--no-tui".to_owned(),
        "--output-format".to_owned(),
        "json".to_owned(),
        "--latency-correction".to_owned(),
        "-c".to_owned(),
        load.connections.to_string(),
        "-q".to_owned(),
        format!("{rate:.0}"),
        "-z".to_owned(),
        format!("{seconds}s"),
        load.url(size),
    ]
}

pub(super) fn read(text: &str, rate: f64) -> Result<Outcome> {
    let report: Value = serde_json::from_str(text).with_context(|| format!("oha said {text}"))?;
    let statuses = report["statusCodeDistribution"].as_object().cloned();
    let statuses = statuses.unwrap_or_default();
    ensure!(
        statuses.keys().all(|status| status == "200"),
        "answers that are not 200: {statuses:?}"
    );
    let errors = report["errorDistribution"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    ensure!(
        errors.keys().all(|error| error == CUT_OFF),
        "requests failed: {errors:?}"
    );
    let count = statuses.get("200").and_then(Value::as_f64).unwrap_or_default();
    let seconds = report["summary"]["total"]
        .as_f64()
        .context("oha's report has no summary.total")?;
    let reached = count / seconds;
    ensure!(
        reached >= rate * KEPT,
        "{reached:.0} requests/s instead of {rate:.0}: the rate is more than the machine can do now"
    );
    let mut latencies = Vec::new();
    for name in ["p50", "p99", "p99.9"] {
        let value = report["latencyPercentiles"][name].as_f64();
        let value = value.with_context(|| format!("oha's report has no latencyPercentiles.{name}"))?;
        latencies.push((name, value * 1e6));
    }
    Ok(Outcome {
        count,
        rate: reached,
        latencies,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: &str, error: &str) -> String {
        format!(
            r#"{{"summary":{{"total":2.0}},"statusCodeDistribution":{{"{status}":2000}},
                "errorDistribution":{{"{error}":3}},
                "latencyPercentiles":{{"p50":0.001,"p99":0.002,"p99.9":0.004}}}}"#
        )
    }

    #[test]
    fn reads_the_report() {
        let outcome = read(&said("200", CUT_OFF), 1000.0).unwrap();
        assert_eq!(outcome.count.to_bits(), 2000_f64.to_bits());
        assert_eq!(
            outcome.latencies,
            [("p50", 1000.0), ("p99", 2000.0), ("p99.9", 4000.0)]
        );
    }

    #[test]
    fn refuses_other_answers_failures_and_a_rate_that_was_not_kept() {
        assert!(read(&said("503", CUT_OFF), 1000.0).is_err());
        assert!(read(&said("200", "connection refused"), 1000.0).is_err());
        assert!(read(&said("200", CUT_OFF), 2000.0).is_err());
    }
}

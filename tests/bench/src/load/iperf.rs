//! iperf3: bytes over TCP, as many as will pass.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use mesh_harness::until;
use serde_json::Value;

use super::{Load, Outcome};

/// Bytes of a megabyte: throughput is in units of 1000.
const MEGA: f64 = 1e6;
/// Endpoints reach a node within a second or two of the manifest.
const DEADLINE: Duration = Duration::from_secs(20);

pub(super) fn arguments(load: &Load, down: bool, seconds: u32) -> Vec<String> {
    let mut arguments = client(load);
    arguments.extend(["-t", &seconds.to_string(), "-P", &load.connections.to_string()].map(str::to_owned));
    if down {
        arguments.push("-R".to_owned());
    }
    arguments
}

fn client(load: &Load) -> Vec<String> {
    let (address, port) = (load.target.ip().to_string(), load.target.port().to_string());
    ["-J", "-c", &address, "-p", &port].map(str::to_owned).into()
}

/// Waits until a byte passes: before, the Service may have no endpoint.
pub(super) fn check(load: &Load) -> Result<()> {
    let mut last = String::new();
    until("iperf3 to get through", DEADLINE, || {
        let program = load.from.program("iperf3")?.args(client(load));
        let finished = program.args(["-n", "1M"]).run(DEADLINE)?;
        last = finished.text();
        Ok(finished.status.success().then_some(()))
    })
    .with_context(|| format!("{} from {}: {last}", load.target, load.from.name()))
}

pub(super) fn read(text: &str) -> Result<Outcome> {
    let report: Value = serde_json::from_str(text).with_context(|| format!("iperf3 said {text}"))?;
    if let Some(error) = report["error"].as_str() {
        bail!("iperf3: {error}");
    }
    // What arrived counts, not what was sent: the rest lies in buffers.
    let received = &report["end"]["sum_received"];
    let number = |name: &str| {
        let value = received[name].as_f64();
        value.with_context(|| format!("iperf3's report has no end.sum_received.{name}"))
    };
    let (bytes, seconds) = (number("bytes")?, number("seconds")?);
    Ok(Outcome {
        count: bytes / MEGA,
        rate: bytes / MEGA / seconds,
        latencies: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_arrived() {
        let text =
            r#"{"end":{"sum_sent":{"bytes":9e9,"seconds":2},"sum_received":{"bytes":4e9,"seconds":2.0}}}"#;
        let outcome = read(text).unwrap();
        assert_eq!(outcome.count.to_bits(), 4000_f64.to_bits());
        assert_eq!(outcome.rate.to_bits(), 2000_f64.to_bits());
    }

    #[test]
    fn refuses_an_error_and_what_is_no_report() {
        assert!(read(r#"{"end":{},"error":"unable to connect"}"#).is_err());
        assert!(read(r#"{"end":{}}"#).is_err());
        assert!(read("iperf3: error").is_err());
    }
}

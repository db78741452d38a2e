//! What the mesh tells of requests: metrics, as a real Prometheus reads them, the access log in both of its forms, and
//! meshctl. Each test makes known requests with clients that we did not write, and looks for exactly those.

#![expect(clippy::unwrap_used, reason = "in a test, a failure's place is what matters")]

use std::fs;

use anyhow::Result;
use mesh_e2e::MOMENT;
use mesh_e2e::case::{Case, Target};
use mesh_e2e::hall::Hall;
use mesh_e2e::turns::Turns;
use mesh_harness::node::{NodeProxy, NodeSettings};
use mesh_harness::{Mesh, Workload, until};

#[path = "telemetry/log.rs"]
mod log;
#[path = "telemetry/meshctl.rs"]
mod meshctl;
#[path = "telemetry/metrics.rs"]
mod metrics;
#[path = "telemetry/prometheus.rs"]
mod prometheus;
#[path = "telemetry/series.rs"]
mod series;

/// Made once. Each test has Services and routes of its own names.
static HALL: Turns<Hall> = Turns::new(open);

/// A hall whose nodes log every request, the first as text and the second as JSON, and forget soon what is gone.
fn open() -> Result<Hall> {
    let settings = NodeSettings {
        request_log: "all".to_owned(),
        series_retention: "2s".to_owned(),
        ..NodeSettings::default()
    };
    let mut hall = Hall::open_with(Mesh::builder().node_settings(settings))?;
    let b = hall.mesh.node_mut("node-b")?;
    let config = fs::read_to_string(b.config())?;
    assert!(config.contains("format = \"text\""), "{config}");
    fs::write(
        b.config(),
        config.replace("format = \"text\"", "format = \"json\""),
    )?;
    b.stop()?;
    b.start()?;
    b.wait_service("mesh/echo", 2)?;
    Ok(hall)
}

/// Waits until the counter, summed over all series with these labels, is this.
fn wait_count(node: &NodeProxy, name: &str, labels: &[(&str, &str)], expected: f64) {
    let mut last = 0.0;
    let what = format!("{name} {labels:?} to be {expected}");
    until(&what, MOMENT, || {
        last = node.metrics()?.sum(name, labels);
        Ok(((last - expected).abs() < f64::EPSILON).then_some(()))
    })
    .map_err(|error| {
        let metrics = node.metrics().unwrap();
        let there: Vec<_> = metrics
            .samples()
            .iter()
            .filter(|sample| sample.name == name)
            .collect();
        error.context(format!("it is {last}; there is {there:#?}"))
    })
    .unwrap();
}

/// Makes a request and expects this status, 0 for none.
fn ask(case: &Case, target: &Target, from: &Workload, status: u16) -> mesh_e2e::ask::Answer {
    let answer = case.ask(target).send(from).unwrap();
    assert_eq!(answer.status, status, "{answer:?}");
    answer
}

//! A real Prometheus scrapes a node, takes all that it is told, and answers the questions that people ask of it.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use mesh_e2e::LONG;
use mesh_e2e::case::get;
use mesh_e2e::hall::Hall;
use mesh_harness::{http, until};
use serde_json::Value;

use crate::{HALL, ask};

/// Where it answers, on the loopback of the node's namespace.
const PORT: u16 = 9090;
/// Prometheus ends by itself when it is told to; it writes its data first.
const STOP: Duration = Duration::from_secs(30);

/// The value that a query gives; none while it gives nothing.
fn query(hall: &Hall, query: &str) -> anyhow::Result<Option<f64>> {
    let encoded: String = query
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect();
    let answer = api(hall, &format!("/api/v1/query?query={encoded}"))?;
    let value = &answer["data"]["result"][0]["value"][1];
    Ok(value.as_str().and_then(|value| value.parse().ok()))
}

fn api(hall: &Hall, path: &str) -> anyhow::Result<Value> {
    let at = SocketAddr::from(([127, 0, 0, 1], PORT));
    let answer = http::get(hall.a().node.proxy.netns(), at, path)?;
    Ok(serde_json::from_str(&answer.body)?)
}

#[test]
fn prometheus_takes_everything_and_answers() {
    let mut hall = HALL.take();
    let target = hall.service("scraped").unwrap();
    // There before the first scrape, so that a rate over all of it is above nothing.
    ask(&get("/"), &target, &hall.client_a, 200);
    let folder = hall.folder();
    let (config, data) = (folder.join("prometheus.yml"), folder.join("prometheus"));
    fs::write(
        &config,
        "global: { scrape_interval: 500ms, evaluation_interval: 500ms }\nscrape_configs:\n\
         - { job_name: node, static_configs: [ { targets: ['127.0.0.1:15020'] } ] }\n",
    )
    .unwrap();
    let place = &hall.a().node.proxy;
    let mut prometheus = place
        .program("prometheus")
        .unwrap()
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", data.display()))
        .arg(format!("--web.listen-address=127.0.0.1:{PORT}"))
        .spawn()
        .unwrap();
    until("the first scrape", LONG, || {
        Ok((query(&hall, "up").ok().flatten() == Some(1.0)).then_some(()))
    })
    .map_err(|error| error.context(prometheus.log_tail()))
    .unwrap();
    for _ in 0..20 {
        ask(&get("/"), &target, &hall.client_a, 200);
    }
    ask(&get("/").with("X-Do: status=500"), &target, &hall.client_a, 500);

    let of = "service=\"mesh/scraped:80\"";
    let total = format!("sum(mesh_node_requests_total{{{of}}})");
    until("all requests to be there", LONG, || {
        Ok((query(&hall, &total)? == Some(22.0)).then_some(()))
    })
    .unwrap();
    let by_code = format!("sum(mesh_node_requests_total{{{of},response_code=~\"5..\"}})");
    assert_eq!(query(&hall, &by_code).unwrap(), Some(1.0));
    let rate = format!("sum(rate(mesh_node_requests_total{{{of}}}[1m]))");
    assert!(query(&hall, &rate).unwrap() > Some(0.0));
    let buckets = format!("sum by (le) (mesh_node_request_duration_seconds_bucket{{{of}}})");
    let median = query(&hall, &format!("histogram_quantile(0.5, {buckets})")).unwrap();
    assert!(median > Some(0.0) && median < Some(2.5), "{median:?}");
    let count = format!("sum(mesh_node_request_duration_seconds_count{{{of}}})");
    assert_eq!(query(&hall, &count).unwrap(), Some(22.0));

    // Nothing was dropped: as many samples as the node has lines, and no complaint.
    let targets = api(&hall, "/api/v1/targets").unwrap();
    let target = &targets["data"]["activeTargets"][0];
    assert_eq!(target["lastError"], "", "{target:#}");
    let lines = hall.a().metrics().unwrap().samples().len();
    let scraped = query(&hall, "scrape_samples_scraped").unwrap().unwrap();
    let kept = query(&hall, "scrape_samples_post_metric_relabeling")
        .unwrap()
        .unwrap();
    assert!((scraped - kept).abs() < f64::EPSILON);
    // Other tests' series expire in between, so the two are not exactly of one moment.
    #[expect(clippy::cast_precision_loss, reason = "thousands of lines")]
    let difference = (scraped - lines as f64).abs();
    assert!(difference < 100.0, "{scraped} samples of {lines} lines");
    let metadata = api(&hall, "/api/v1/metadata").unwrap();
    for (name, kind) in [
        ("mesh_node_requests", "counter"),
        ("mesh_node_request_duration_seconds", "histogram"),
        ("mesh_node_requests_in_flight", "gauge"),
    ] {
        assert_eq!(metadata["data"][name][0]["type"], kind, "{name}");
        assert_ne!(metadata["data"][name][0]["help"], "");
    }
    prometheus.stop(STOP).unwrap();
}

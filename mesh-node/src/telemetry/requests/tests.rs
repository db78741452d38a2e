use std::time::Duration;

use http::Version;
use mesh_runtime::metrics::Metrics;

use super::*;
use crate::outcome::{Flag, Flags};

fn name(text: &str) -> ResourceName {
    text.parse().unwrap()
}

/// Names of a request's parts.
struct Names {
    client: ResourceName,
    service: ResourceName,
    backend: ResourceName,
    destination: ResourceName,
    route: RuleName,
}

impl Names {
    fn new(backend: &str, destination: &str) -> Self {
        Self {
            client: name("shop/client"),
            service: name("shop/web"),
            backend: name(backend),
            destination: name(destination),
            route: RuleName {
                route: name("shop/canary"),
                rule: "0".to_owned(),
            },
        }
    }

    fn record(&self) -> RequestRecord<'_> {
        RequestRecord {
            source: Some(&self.client),
            service: Some((&self.service, 80)),
            route: Some(&self.route),
            backend: Some((&self.backend, 8080)),
            destination: Some(&self.destination),
            method: "GET",
            authority: "web",
            path: "/",
            protocol: Version::HTTP_11,
            status: Some(200),
            attempts: 1,
            duration: Duration::from_millis(4),
            upstream_duration: Some(Duration::from_millis(3)),
            request_bytes: 10,
            response_bytes: 1000,
            ..RequestRecord::from("192.0.2.1:40000".parse().unwrap())
        }
    }
}

/// What there is, but for what is named.
struct Without(&'static str);

impl Living for Without {
    fn workload(&self, name: &ResourceName) -> bool {
        name.to_string() != self.0
    }

    fn service(&self, name: &ResourceName) -> bool {
        name.to_string() != self.0
    }

    fn rule(&self, name: &RuleName) -> bool {
        name.to_string() != self.0
    }
}

fn metrics(max_series: usize) -> Arc<RequestMetrics> {
    Arc::new(RequestMetrics::new(2, max_series))
}

fn text(metrics: &Arc<RequestMetrics>) -> String {
    let mut registry = Metrics::new("mesh_node");
    registry
        .registry()
        .register_collector(Box::new(Arc::clone(metrics)));
    registry.encode().unwrap()
}

/// Lines of the exposition that begin like this.
fn lines(text: &str, start: &str) -> Vec<String> {
    text.lines()
        .filter(|line| line.starts_with(start))
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_request_is_counted_under_all_of_its_labels_and_timed_under_few() {
    let metrics = metrics(100);
    let (v1, v2) = (
        Names::new("shop/web-v1", "shop/web-v1-a"),
        Names::new("shop/web-v2", "shop/web-v2-a"),
    );
    for _ in 0..3 {
        metrics.record(&v1.record());
    }
    let mut flags = Flags::default();
    flags.insert(Flag::UpstreamRequestTimeout);
    metrics.record(&RequestRecord {
        status: Some(504),
        flags,
        duration: Duration::from_secs(2),
        ..v2.record()
    });
    let text = text(&metrics);
    let path = "source_workload=\"shop/client\",service=\"shop/web:80\",route=\"shop/canary#0\",backend=\"shop/web-v1:8080\"";
    let mut counts = lines(&text, "mesh_node_requests_total");
    counts.sort();
    assert_eq!(
        counts,
        [
            format!(
                "mesh_node_requests_total{{{path},destination_workload=\"shop/web-v1-a\",protocol=\"HTTP/1.1\",response_code=\"200\",grpc_status=\"\",response_flags=\"-\"}} 3"
            ),
            format!(
                "mesh_node_requests_total{{{},destination_workload=\"shop/web-v2-a\",protocol=\"HTTP/1.1\",response_code=\"504\",grpc_status=\"\",response_flags=\"UT\"}} 1",
                path.replace("v1", "v2")
            ),
        ]
    );
    for line in [
        format!("mesh_node_request_bytes_total{{{path}}} 30"),
        format!("mesh_node_response_bytes_total{{{path}}} 3000"),
        format!("mesh_node_request_proxy_seconds_total{{{path}}} 0.003"),
        format!("mesh_node_request_duration_seconds_sum{{{path}}} 0.012"),
        format!("mesh_node_request_duration_seconds_count{{{path}}} 3"),
        format!("mesh_node_request_duration_seconds_bucket{{le=\"0.0025\",{path}}} 0"),
        format!("mesh_node_request_duration_seconds_bucket{{le=\"0.005\",{path}}} 3"),
        format!("mesh_node_request_duration_seconds_bucket{{le=\"+Inf\",{path}}} 3"),
        "mesh_node_request_series 2".to_owned(),
        "mesh_node_request_series_overflow_total 0".to_owned(),
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
}

#[test]
fn neither_clients_nor_backends_can_make_series_at_will() {
    let metrics = metrics(10_000);
    let names = Names::new("shop/web", "shop/web-a");
    for round in 0..1000_u32 {
        let text = format!("/{round}");
        metrics.record(&RequestRecord {
            path: &text,
            authority: &text,
            method: &text,
            user_agent: &text,
            request_id: &text,
            status: Some(u16::try_from(round).unwrap()),
            grpc_status: Some(round),
            ..names.record()
        });
    }
    let count = metrics.read().series.len();
    assert!(count < 100, "{count} series");
}

#[test]
fn a_status_that_nobody_registered_shows_its_class() {
    let metrics = metrics(100);
    let names = Names::new("shop/web", "shop/web-a");
    for (status, grpc_status) in [(Some(299), None), (Some(200), Some(99)), (None, None)] {
        metrics.record(&RequestRecord {
            status,
            grpc_status,
            ..names.record()
        });
    }
    let text = text(&metrics);
    for labels in [
        "response_code=\"2xx\",grpc_status=\"\"",
        "response_code=\"200\",grpc_status=\"other\"",
        "response_code=\"\",grpc_status=\"\"",
    ] {
        assert!(text.contains(labels), "{labels} is not in\n{text}");
    }
}

#[test]
fn what_is_too_much_is_told_as_such() {
    let metrics = metrics(10);
    for pod in 0..50 {
        metrics.record(&Names::new("shop/web", &format!("shop/web-{pod}")).record());
    }
    let text = text(&metrics);
    let overflow =
        "source_workload=\"overflow\",service=\"overflow\",route=\"overflow\",backend=\"overflow\"";
    for line in [
        format!("mesh_node_requests_total{{{overflow},destination_workload=\"overflow\"}} 40"),
        format!("mesh_node_request_duration_seconds_count{{{overflow}}} 40"),
        "mesh_node_request_series 10".to_owned(),
        "mesh_node_request_series_overflow_total 40".to_owned(),
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
    assert_eq!(lines(&text, "mesh_node_requests_total").len(), 11);
}

#[test]
fn series_of_each_thing_that_is_gone_expire_and_no_others() {
    for gone in [
        "shop/client",
        "shop/web",
        "shop/web-v1",
        "shop/web-v1-a",
        "shop/canary#0",
    ] {
        let metrics = metrics(100);
        metrics.record(&Names::new("shop/web-v1", "shop/web-v1-a").record());
        let nothing = Without("shop/other");
        assert_eq!(metrics.sweep(100, 100, &nothing), 0);
        assert_eq!(metrics.sweep(200, 100, &nothing), 0, "nothing is gone");
        assert_eq!(metrics.sweep(300, 300, &Without(gone)), 0, "not for long enough");
        assert_eq!(metrics.sweep(400, 300, &Without(gone)), 1, "{gone} is gone");
        assert!(!text(&metrics).contains(gone), "{gone} is still told of");
    }
}

#[test]
fn retries_and_mirrors_are_counted_by_result_and_expire_with_their_backend() {
    let metrics = metrics(100);
    let backend = name("shop/web");
    metrics.retry((&backend, 80), RetryResult::Retried);
    metrics.retry((&backend, 80), RetryResult::Retried);
    metrics.retry((&backend, 80), RetryResult::BudgetExhausted);
    metrics.mirror((&backend, 80), MirrorResult::Failed);
    let told = text(&metrics);
    for line in [
        "mesh_node_request_retries_total{backend=\"shop/web:80\",result=\"retried\"} 2",
        "mesh_node_request_retries_total{backend=\"shop/web:80\",result=\"budget_exhausted\"} 1",
        "mesh_node_request_mirrors_total{backend=\"shop/web:80\",result=\"failed\"} 1",
    ] {
        assert!(
            told.lines().any(|found| found == line),
            "{line} is not in\n{told}"
        );
    }
    metrics.sweep(100, 100, &Without("shop/web"));
    assert_eq!(metrics.sweep(200, 100, &Without("shop/web")), 3);
    assert!(!text(&metrics).contains("shop/web"));
}

#[test]
fn requests_under_way_are_counted_wherever_they_end() {
    let metrics = metrics(100);
    let one = metrics.begin();
    let other = metrics.begin();
    assert_eq!(metrics.in_flight(), 2);
    std::thread::spawn(move || drop(one)).join().unwrap();
    assert_eq!(metrics.in_flight(), 1);
    drop(other);
    assert_eq!(metrics.in_flight(), 0);
    assert!(text(&metrics).contains("mesh_node_requests_in_flight 0"));
}

#[test]
fn success_is_what_users_of_meshes_expect() {
    let none = Flags::default();
    let with = |flag| {
        let mut flags = Flags::default();
        flags.insert(flag);
        flags
    };
    let gone = with(Flag::DownstreamConnectionTermination);
    let cut = with(Flag::UpstreamConnectionTermination);
    for (status, grpc_status, flags, expected) in [
        (Some(200), None, none, false),
        (Some(404), None, none, false),
        (Some(429), None, none, false),
        (Some(500), None, none, true),
        (Some(599), None, none, true),
        (None, None, none, true),
        (None, None, gone, false),
        (Some(200), None, gone, false),
        (Some(503), None, gone, true),
        (Some(200), None, cut, true),
        (Some(200), None, with(Flag::DelayInjected), false),
        (Some(404), None, with(Flag::NoRoute), false),
        (Some(200), Some(0), none, false),
        (Some(200), Some(5), none, false),
        (Some(200), Some(12), none, true),
        (Some(200), Some(14), none, true),
    ] {
        assert_eq!(
            is_failure(status, grpc_status, flags),
            expected,
            "{status:?} {grpc_status:?} {flags}"
        );
    }
}

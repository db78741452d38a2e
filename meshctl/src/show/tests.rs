//! Tables from what a node may say.

use super::*;
use mesh_api::admin::{
    CertificateStatus, ConditionStatus, ControlStatus, EjectionStatus, EndpointStatus, LocalWorkload,
    NodeRoutes, NodeRule, ParentStatus, PolicyStatus, PolicyTargetStatus, RouteReading, RouteReport,
    RouteStatus, RuleBackendStatus, RuleStatus, Status,
};

/// The cells of a line, none of which has a space in it.
fn cells(table: &str, line: usize) -> Vec<&str> {
    table
        .lines()
        .nth(line)
        .unwrap_or_default()
        .split_whitespace()
        .collect()
}

fn workload(name: &str, local: Option<LocalWorkload>) -> WorkloadStatus {
    WorkloadStatus {
        name: name.to_owned(),
        node: "node-a".to_owned(),
        identity: "spiffe://cluster.local/ns/shop/sa/web".to_owned(),
        addresses: vec![
            "10.1.0.2".parse().expect("an address"),
            "fd00:1::2".parse().expect("an address"),
        ],
        is_host_network: false,
        is_enrolled: true,
        local,
    }
}

#[test]
fn shows_what_a_workload_waits_for() {
    let local = LocalWorkload {
        cgroup: "/sys/fs/cgroup/shop/web-1".to_owned(),
        network_namespace: None,
        is_captured: false,
        waiting_for: Some("its cgroup has\nto appear".to_owned()),
        open_connections: 3,
    };
    let text = workload_table(&[workload("shop/web-1", Some(local)), workload("shop/web-2", None)]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(
        lines[1].contains("10.1.0.2,fd00:1::2   own       yes    waits: its cgroup has to appear"),
        "{text}"
    );
    assert!(lines[1].ends_with(" 3"), "{text}");
    assert!(lines[2].ends_with(" -"), "{text}");
}

#[test]
fn sums_up_a_service_and_lists_its_endpoints() {
    let endpoint = |address: &str, is_ready| EndpointStatus {
        address: address.parse().expect("an address"),
        ports: vec![(80, 8080)],
        workload: Some("shop/web-1".to_owned()),
        is_ready,
        active_connections: 2,
        active_requests: 0,
        ejected: Vec::new(),
    };
    let service = ServiceStatus {
        name: "shop/web".to_owned(),
        addresses: vec!["10.96.0.10".parse().expect("an address")],
        ports: vec!["http:80/TCP".to_owned()],
        endpoints: vec![endpoint("10.1.0.2", true), endpoint("10.1.0.3", false)],
    };
    let summary = service_table(std::slice::from_ref(&service));
    assert_eq!(
        cells(&summary, 1),
        ["shop/web", "10.96.0.10", "http:80/TCP", "1", "0", "2", "0", "4"]
    );
    let endpoints = endpoint_table(&[service]);
    assert_eq!(
        cells(&endpoints, 2),
        [
            "shop/web",
            "10.1.0.3",
            "80->8080",
            "shop/web-1",
            "no",
            "-",
            "0",
            "2"
        ]
    );
}

#[test]
fn shows_a_connection_with_its_peer() {
    let connection = ConnectionStatus {
        id: 7,
        direction: "outbound".to_owned(),
        workload: "shop/web-1".to_owned(),
        source: "10.1.0.2:40000".parse().expect("an address"),
        destination: "[fd00::1]:80".parse().expect("an address"),
        service: None,
        endpoint: Some("10.2.0.2:8080".parse().expect("an address")),
        peer: Some("spiffe://cluster.local/ns/shop/sa/api".to_owned()),
        transport: "hbone".to_owned(),
        sent_bytes: 1536,
        received_bytes: 104_857_600,
        age_seconds: 125,
    };
    let text = connection_table(&[connection]);
    for part in [
        "[fd00::1]:80",
        "spiffe://cluster.local/ns/shop/sa/api",
        "1.5 KiB",
        "100.0 MiB",
        "2m 5s",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert_eq!(connection_table(&[]), "No connections are open.\n");
}

#[test]
fn shows_when_a_certificate_ends() {
    let certificate = CertificateStatus {
        identity: "spiffe://cluster.local/ns/shop/sa/web".to_owned(),
        serial: "0a1b".to_owned(),
        not_before: 0,
        not_after: 90_000,
        renewal: 46_000,
        last_error: None,
    };
    let missing = CertificateStatus {
        serial: String::new(),
        not_after: 0,
        renewal: 0,
        last_error: Some("refused".to_owned()),
        ..certificate.clone()
    };
    let text = certificate_table(&[certificate, missing], 50_000);
    assert!(text.contains("in 11h 6m   1h 6m ago   -"), "{text}");
    assert!(
        text.contains("-        -           -           refused"),
        "{text}"
    );
}

#[test]
fn tells_a_node_that_is_not_ready() {
    let status = Status {
        node: "node-a".to_owned(),
        version: "0.1.0".to_owned(),
        uptime_seconds: 65,
        is_ready: false,
        pending: vec!["configuration".to_owned(), "certificates".to_owned()],
        control: ControlStatus {
            address: "10.0.0.1:15010".to_owned(),
            is_connected: false,
            last_error: Some("connection refused".to_owned()),
            is_stale: true,
        },
        enrolled_workloads: 1,
        workloads: 4,
        services: 2,
        open_connections: 0,
        capture: [("captured".to_owned(), 12), ("refused".to_owned(), 1)].into(),
    };
    let expected = "\
Node:           node-a
Version:        0.1.0
Up for:         1m 5s
Ready:          no, waits for configuration, certificates
Control plane:  10.0.0.1:15010 (not connected: connection refused)
Configuration:  from disk, not confirmed since
Workloads:      1 captured here, 4 known
Services:       2
Connections:    0 open
Kernel programs:
  captured  12
  refused   1
";
    assert_eq!(status_text(&status), expected);
}

#[test]
fn filters_by_the_whole_namespace() {
    assert!(is_in("shop/web", Some("shop")));
    assert!(is_in("shop/web", None));
    assert!(!is_in("shopping/web", Some("shop")));
}

#[test]
fn shows_which_endpoints_are_left_out_and_what_is_under_way() {
    let endpoint = |ports: &[(u16, u16)], ejected: &[(u16, u64)]| EndpointStatus {
        address: "10.1.0.2".parse().expect("an address"),
        ports: ports.to_vec(),
        workload: Some("shop/web-1".to_owned()),
        is_ready: true,
        active_connections: 4,
        active_requests: 9,
        ejected: ejected
            .iter()
            .map(|(port, seconds_left)| EjectionStatus {
                port: *port,
                seconds_left: *seconds_left,
            })
            .collect(),
    };
    let service = ServiceStatus {
        name: "shop/web".to_owned(),
        addresses: Vec::new(),
        ports: vec!["http:80/http1".to_owned()],
        endpoints: vec![
            endpoint(&[(80, 8080)], &[]),
            endpoint(&[(80, 8080)], &[(80, 27)]),
            endpoint(&[(80, 8080), (81, 8081)], &[(81, 0)]),
        ],
    };
    let text = endpoint_table(std::slice::from_ref(&service));
    assert_eq!(cells(&text, 1)[4..], ["yes", "-", "9", "4"]);
    assert!(text.contains("   27s more   "), "{text}");
    assert!(text.contains("   port 81: is tried again   "), "{text}");
    let summary = service_table(&[service]);
    assert_eq!(cells(&summary, 1)[3..], ["3", "2", "3", "27", "12"]);
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> ConditionStatus {
    ConditionStatus {
        r#type: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: None,
    }
}

fn report() -> RouteReport {
    let backend = |target: &str, weight, error: Option<&str>| RuleBackendStatus {
        target: target.to_owned(),
        weight,
        error: error.map(str::to_owned),
    };
    RouteReport {
        in_force: Some(RouteReading {
            loaded_at: "2026-03-01T12:00:00Z".to_owned(),
            routes: vec![RouteStatus {
                kind: "HTTPRoute".to_owned(),
                name: "shop/canary".to_owned(),
                origin: "shop.yaml:12".to_owned(),
                hostnames: Vec::new(),
                parents: vec![ParentStatus {
                    parent: "shop/web".to_owned(),
                    port: Some(80),
                    section_name: None,
                    ports: vec![80],
                    consumer: None,
                    controller: "nodemesh".to_owned(),
                    conditions: vec![
                        condition("Accepted", "True", "Accepted", ""),
                        condition(
                            "ResolvedRefs",
                            "False",
                            "BackendNotFound",
                            "there is no Service\nshop/web-v3",
                        ),
                    ],
                }],
                rules: vec![RuleStatus {
                    name: "0".to_owned(),
                    matches: vec!["/*".to_owned(), "GET /v2*".to_owned()],
                    backends: vec![
                        backend("shop/web-v1:80", 90, None),
                        backend("shop/web-v3:80", 10, Some("there is no Service shop/web-v3")),
                    ],
                }],
            }],
            policies: vec![PolicyStatus {
                name: "shop/slow".to_owned(),
                origin: "shop.yaml:40".to_owned(),
                targets: vec![PolicyTargetStatus {
                    kind: "Service".to_owned(),
                    target: "shop/web".to_owned(),
                    section_name: Some("http".to_owned()),
                    controller: "nodemesh".to_owned(),
                    conditions: vec![condition(
                        "Accepted",
                        "False",
                        "Conflicted",
                        "shop/older is in force",
                    )],
                }],
            }],
        }),
        refused: None,
    }
}

#[test]
fn shows_routes_and_what_is_wrong_with_them() {
    let expected = "\
KIND        ROUTE         SERVICE    PORTS   CLIENTS   ACCEPTED   REFERENCES        WRITTEN IN
HTTPRoute   shop/canary   shop/web   80      all       yes        BackendNotFound   shop.yaml:12

ROUTE         RULE   MATCHES         BACKENDS
shop/canary   0      /* | GET /v2*   shop/web-v1:80 90/100, shop/web-v3:80 invalid (there is no Service shop/web-v3) 10/100

POLICY      TARGET                  ACCEPTED     WRITTEN IN
shop/slow   Service shop/web http   Conflicted   shop.yaml:40

shop.yaml:12: HTTPRoute shop/canary at shop/web:80: ResolvedRefs is False, BackendNotFound: there is no Service shop/web-v3
shop.yaml:40: TrafficPolicy shop/slow at Service shop/web http: Accepted is False, Conflicted: shop/older is in force
";
    assert_eq!(routes::report_text(&report(), true), expected);
    assert_eq!(
        routes::report_text(&RouteReport::default(), false),
        "mesh-control has not read its manifests yet.\n"
    );
}

#[test]
fn tells_of_a_reading_that_was_refused() {
    let mut report = report();
    report.refused = Some(RouteReading::default());
    let text = routes::report_text(&report, false);
    assert!(text.contains("stays in force"), "{text}");
    assert!(text.ends_with("No routes.\n"), "{text}");
    assert!(!text.contains("MATCHES"), "rules are for who asks for them");
}

#[test]
fn shows_what_a_node_goes_by() {
    let routes = NodeRoutes {
        service: "shop/web".to_owned(),
        port: 80,
        consumer: Some("tests".to_owned()),
        kind: "HTTPRoute".to_owned(),
        rules: vec![NodeRule {
            name: "shop/canary#0".to_owned(),
            matches: vec!["/*".to_owned()],
            filters: vec!["redirect 301".to_owned()],
            backends: vec![RuleBackendStatus {
                target: String::new(),
                weight: 1,
                error: Some("no such Service".to_owned()),
            }],
            policy: vec!["timeout 1s".to_owned(), "3 retries on 503".to_owned()],
        }],
    };
    let text = routes::node_table(&[routes]);
    assert!(
        text.contains(
            "shop/web   80     of tests   HTTPRoute   shop/canary#0   /*        invalid (no such Service)   \
             redirect 301   timeout 1s; 3 retries on 503"
        ),
        "{text}"
    );
}

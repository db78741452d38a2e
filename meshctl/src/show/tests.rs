//! Tables from what a node may say.

use super::*;
use mesh_api::admin::{ControlStatus, EndpointStatus, LocalWorkload};

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
    assert!(
        summary.contains("shop/web   10.96.0.10   http:80/TCP       1           2             4"),
        "{summary}"
    );
    let endpoints = endpoint_table(&[service]);
    assert!(
        endpoints.contains("shop/web   10.1.0.3   80->8080   shop/web-1   no                2"),
        "{endpoints}"
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

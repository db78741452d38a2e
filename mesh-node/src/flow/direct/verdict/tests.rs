//! Each reason, from a world in which there is none.

use std::time::Duration;

use mesh_model::{
    Change, Diff, EndpointSet, HashKey, Limits, OutlierDetection, RequestPolicy, RouteRules, Timeouts,
    fixture,
};

use super::*;

const VIP: &str = "10.96.0.1:5432";

/// `a/db` with a `tcp` port and two endpoints on node `here`, changed by `change`.
fn world(change: impl FnOnce(&mut Vec<Change>)) -> Snapshot {
    let mut changes = vec![
        Change::Workload(fixture::workload("a/db-0", "here", "10.0.0.10")),
        Change::Workload(fixture::workload("a/db-1", "here", "10.0.0.11")),
        Change::Workload(fixture::workload("a/far", "there", "10.0.1.10")),
        service(AppProtocol::Tcp, PortPolicy::default()),
        Change::Endpoints(both()),
    ];
    change(&mut changes);
    Snapshot::default().apply(Diff::from(changes))
}

fn service(protocol: AppProtocol, policy: PortPolicy) -> Change {
    let service = fixture::service_with_policy("a/db", "10.96.0.1", 5432, protocol, policy);
    Change::Service(service)
}

fn both() -> EndpointSet {
    set(&[("10.0.0.11", 5432, "a/db-1"), ("10.0.0.10", 5432, "a/db-0")])
}

fn set(endpoints: &[(&str, u16, &str)]) -> EndpointSet {
    fixture::endpoints("a/db", 5432, endpoints)
}

fn ask(snapshot: &Snapshot, asked: &str) -> Result<Vec<String>, Reason> {
    let verdict = judge(&Question {
        snapshot,
        node: &NodeName::new("here").unwrap(),
        client_namespace: "a",
        asked: asked.parse().unwrap(),
        mesh_ports: [15001, 15006, 15008],
    });
    let text = |target: Target| format!("{} {}", target.address, target.weight);
    verdict
        .targets
        .map(|targets| targets.into_iter().map(text).collect())
}

fn withheld(change: impl FnOnce(&mut Vec<Change>)) -> Reason {
    ask(&world(change), VIP).unwrap_err()
}

fn with_policy(change: impl FnOnce(&mut PortPolicy)) -> Reason {
    let mut policy = PortPolicy::default();
    change(&mut policy);
    withheld(|changes| changes.push(service(AppProtocol::Tcp, policy)))
}

#[test]
fn a_tcp_port_with_all_endpoints_here_is_granted() {
    let both = vec!["10.0.0.10:5432 1".to_owned(), "10.0.0.11:5432 1".to_owned()];
    assert_eq!(ask(&world(|_| {}), VIP), Ok(both.clone()));
    let tls = world(|changes| changes.push(service(AppProtocol::Tls, PortPolicy::default())));
    assert_eq!(ask(&tls, VIP), Ok(both), "TLS is passed on as it is");
}

#[test]
fn a_workloads_own_address_is_granted_at_any_port_but_the_meshs() {
    let world = world(|_| {});
    assert_eq!(ask(&world, "10.0.0.10:9"), Ok(vec!["10.0.0.10:9 1".to_owned()]));
    let of_mesh = "10.0.0.10:15008".parse().unwrap();
    assert_eq!(ask(&world, "10.0.0.10:15008"), Err(Reason::MeshPort(of_mesh)));
    let far = "10.0.1.10:9".parse().unwrap();
    assert_eq!(ask(&world, "10.0.1.10:9"), Err(Reason::Elsewhere(far)));
    assert_eq!(ask(&world, "192.0.2.1:9"), Err(Reason::Unknown));
}

#[test]
fn what_may_be_http_is_not_granted() {
    for (protocol, reason) in [
        (AppProtocol::Undeclared, Reason::Undeclared),
        (AppProtocol::Http1, Reason::Requests(AppProtocol::Http1)),
        (AppProtocol::Grpc, Reason::Requests(AppProtocol::Grpc)),
    ] {
        let found = withheld(|changes| changes.push(service(protocol, PortPolicy::default())));
        assert_eq!(found, reason);
        assert!(found.ends_connections());
    }
}

#[test]
fn routes_of_any_kind_want_the_proxy() {
    for rules in [
        RouteRules::Http(vec![]),
        RouteRules::Tls(vec![]),
        RouteRules::Tcp(vec![]),
    ] {
        let routes = fixture::routes("a/db", 5432, rules);
        assert_eq!(
            withheld(|changes| changes.push(Change::Routes(routes))),
            Reason::Routes
        );
    }
    let elsewhere = fixture::routes("a/db", 80, RouteRules::Tcp(vec![]));
    let world = world(|changes| changes.push(Change::Routes(elsewhere)));
    assert!(ask(&world, VIP).is_ok(), "at another port");
    assert!(Reason::Routes.ends_connections());
}

#[test]
fn policy_that_the_kernel_cannot_do_wants_the_proxy() {
    let second = Some(Duration::from_secs(1));
    let reasons = [
        with_policy(|policy| policy.request.timeouts.idle = second),
        with_policy(|policy| policy.backend.balancing = Balancing::PeakEwma),
        with_policy(|policy| {
            policy.backend.balancing = Balancing::Maglev {
                key: HashKey::SourceAddress,
                table_size: 7,
            };
        }),
        with_policy(|policy| policy.backend.locality = LocalityPreference::Failover),
        with_policy(|policy| policy.backend.slow_start = second),
        with_policy(|policy| policy.backend.connect_timeout = second),
        with_policy(|policy| policy.backend.limits.max_connections = Some(1)),
        with_policy(|policy| policy.backend.limits.endpoint_max_connections = Some(1)),
        with_policy(|policy| policy.backend.outliers = Some(outliers())),
    ];
    for reason in &reasons {
        assert!(matches!(reason, Reason::Policy(_)), "{reason}");
        assert!(reason.ends_connections());
    }
}

fn outliers() -> OutlierDetection {
    let second = Duration::from_secs(1);
    OutlierDetection {
        consecutive_5xx: Some(1),
        consecutive_gateway: None,
        success_rate: None,
        interval: second,
        base_ejection: second,
        max_ejection: second,
        max_ejected_percent: 50,
    }
}

#[test]
fn policy_for_requests_does_not_matter_to_bytes() {
    let policy = PortPolicy {
        request: RequestPolicy {
            timeouts: Timeouts {
                request: Some(Duration::from_secs(1)),
                ..Timeouts::default()
            },
            ..RequestPolicy::default()
        },
        backend: BackendPolicy {
            balancing: Balancing::RoundRobin,
            limits: Limits {
                max_requests: Some(1),
                ..Limits::default()
            },
            ..BackendPolicy::default()
        },
    };
    let world = world(|changes| changes.push(service(AppProtocol::Tcp, policy)));
    assert!(ask(&world, VIP).is_ok());
}

#[test]
fn one_endpoint_elsewhere_is_enough_and_leaves_open_connections_alone() {
    let far = withheld(|changes| {
        changes.push(Change::Endpoints(set(&[
            ("10.0.0.10", 5432, "a/db-0"),
            ("10.0.1.10", 5432, "a/far"),
        ])));
    });
    assert_eq!(far, Reason::Elsewhere("10.0.1.10:5432".parse().unwrap()));
    assert!(!far.ends_connections());
}

#[test]
fn endpoints_outside_the_mesh_or_undescribed_want_the_proxy() {
    let outside = Reason::Outside("10.0.0.10:5432".parse().unwrap());
    let mut bare = fixture::workload("a/db-0", "here", "10.0.0.10");
    bare.tunnel = mesh_model::Tunnel::None;
    assert_eq!(withheld(|changes| changes.push(Change::Workload(bare))), outside);
    let gone = Change::WorkloadRemoved("a/db-0".parse().unwrap());
    assert_eq!(withheld(|changes| changes.push(gone)), outside);
}

#[test]
fn endpoints_that_are_not_chosen_do_not_count() {
    let mut endpoints = both();
    endpoints
        .endpoints
        .extend(set(&[("10.0.1.10", 5432, "a/far")]).endpoints);
    endpoints.endpoints[2].is_ready = false;
    let unready = world(|changes| changes.push(Change::Endpoints(endpoints.clone())));
    assert_eq!(ask(&unready, VIP).map(|targets| targets.len()), Ok(2));
    endpoints.endpoints[2].is_ready = true;
    endpoints.endpoints[2].weight = 0;
    let last_resort = world(|changes| changes.push(Change::Endpoints(endpoints)));
    assert_eq!(ask(&last_resort, VIP).map(|targets| targets.len()), Ok(2));
}

#[test]
fn without_an_endpoint_of_the_family_the_proxy_is_asked() {
    assert_eq!(
        withheld(|changes| changes.push(Change::Endpoints(set(&[])))),
        Reason::NoEndpoint
    );
    let other = set(&[("fd00::10", 5432, "a/db-0")]);
    assert_eq!(
        withheld(|changes| changes.push(Change::Endpoints(other))),
        Reason::NoEndpoint
    );
    assert_eq!(ask(&world(|_| {}), "10.96.0.1:1"), Err(Reason::NoSuchPort));
}

#[test]
fn more_endpoints_than_a_grant_holds_want_the_proxy() {
    let addresses: Vec<String> = (0..17).map(|n| format!("10.0.2.{n}")).collect();
    let names: Vec<String> = (0..17).map(|n| format!("a/many-{n}")).collect();
    let all: Vec<(&str, u16, &str)> = addresses
        .iter()
        .zip(&names)
        .map(|(address, name)| (&**address, 5432, &**name))
        .collect();
    let reason = withheld(|changes| {
        let workload =
            |(name, address): (&String, &String)| Change::Workload(fixture::workload(name, "here", address));
        changes.extend(names.iter().zip(&addresses).map(workload));
        changes.push(Change::Endpoints(set(&all)));
    });
    assert_eq!(reason, Reason::TooMany(17));
    assert!(!reason.ends_connections());
}

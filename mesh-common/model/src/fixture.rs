//! Builders of small worlds, for tests. They panic on bad input.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "test fixtures: a bad literal shall stop the test"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::{
    AppProtocol, BackendTarget, Endpoint, EndpointSet, HttpMatch, HttpRule, Identity, Locality, NetworkMode,
    NodeName, OutlierDetection, PathMatch, PortMapping, PortPolicy, RequestPolicy, ResourceName, Retry,
    RetryOn, RouteGroup, RouteRules, RuleName, Service, ServicePort, ServiceRoutes, TcpRule, TextMatch,
    TlsRule, TrustDomain, Tunnel, ValueMatch, WeightedBackend, Workload, WorkloadPort,
};

/// The trust domain of all fixtures.
pub const TRUST_DOMAIN: &str = "test.local";

/// The identity of a service account in the fixtures' trust domain.
pub fn identity(namespace: &str, service_account: &str) -> Identity {
    Identity::new(
        TrustDomain::new(TRUST_DOMAIN).unwrap(),
        namespace,
        service_account,
    )
    .unwrap()
}

/// An enrolled workload in a network namespace of its own; its service account carries its name.
pub fn workload(name: &str, node: &str, address: &str) -> Workload {
    let name: ResourceName = name.parse().unwrap();
    Workload {
        identity: identity(name.namespace(), name.name()),
        name,
        node: NodeName::new(node).unwrap(),
        addresses: vec![address.parse().unwrap()],
        network: NetworkMode::Own,
        tunnel: Tunnel::Hbone,
        ports: Vec::new(),
        labels: BTreeMap::new(),
        locality: Locality::default(),
        attachment: None,
    }
}

/// An enrolled workload on its node's network that serves one port.
pub fn host_workload(name: &str, node: &str, address: &str, port: u16) -> Workload {
    Workload {
        network: NetworkMode::Host,
        ports: vec![WorkloadPort {
            name: String::new(),
            port,
        }],
        ..workload(name, node, address)
    }
}

/// A Service at one address with unnamed ports.
pub fn service(name: &str, address: &str, ports: &[u16]) -> Service {
    Service {
        name: name.parse().unwrap(),
        addresses: vec![address.parse().unwrap()],
        ports: ports
            .iter()
            .map(|&port| ServicePort {
                name: String::new(),
                port,
                protocol: AppProtocol::Undeclared,
                policy: Arc::new(PortPolicy::default()),
            })
            .collect(),
    }
}

/// The ready endpoints of a Service's port, each an address, a target port and a workload's name.
pub fn endpoints(service: &str, service_port: u16, endpoints: &[(&str, u16, &str)]) -> EndpointSet {
    EndpointSet {
        service: service.parse().unwrap(),
        endpoints: endpoints
            .iter()
            .map(|(address, target_port, workload)| Endpoint {
                address: address.parse().unwrap(),
                ports: vec![PortMapping {
                    service_port,
                    target_port: *target_port,
                }],
                workload: Some(workload.parse().unwrap()),
                is_ready: true,
                weight: 1,
                locality: Locality::default(),
            })
            .collect(),
    }
}

/// A Service at one address with one port that says what it speaks and has a policy.
pub fn service_with_policy(
    name: &str,
    address: &str,
    port: u16,
    protocol: AppProtocol,
    policy: PortPolicy,
) -> Service {
    Service {
        ports: vec![ServicePort {
            name: String::new(),
            port,
            protocol,
            policy: Arc::new(policy),
        }],
        ..service(name, address, &[])
    }
}

/// The routes at one port of a Service, for every client without routes of its own.
pub fn routes(service: &str, port: u16, rules: RouteRules) -> ServiceRoutes {
    ServiceRoutes {
        service: service.parse().unwrap(),
        groups: vec![RouteGroup {
            port,
            consumer: None,
            rules,
        }],
    }
}

/// The HTTP routes at one port of a Service, for every client without routes of its own.
pub fn http_routes(service: &str, port: u16, rules: Vec<HttpRule>) -> ServiceRoutes {
    routes(service, port, RouteRules::Http(rules))
}

/// A rule's name, written `namespace/route#rule`.
pub fn rule_name(name: &str) -> Arc<RuleName> {
    let (route, rule) = name.split_once('#').unwrap();
    Arc::new(RuleName {
        route: route.parse().unwrap(),
        rule: rule.to_owned(),
    })
}

/// A rule named `namespace/route#rule` without filters or policy.
pub fn http_rule(name: &str, matches: Vec<HttpMatch>, backends: Vec<WeightedBackend>) -> HttpRule {
    HttpRule {
        name: rule_name(name),
        matches,
        filters: Vec::new(),
        backends,
        policy: RequestPolicy::default(),
    }
}

/// A rule of a TLSRoute, named `namespace/route#rule`.
pub fn tls_rule(name: &str, server_names: &[&str], backends: Vec<WeightedBackend>) -> TlsRule {
    TlsRule {
        name: rule_name(name),
        server_names: server_names.iter().map(|name| (*name).to_owned()).collect(),
        backends,
    }
}

/// A rule of a TCPRoute, named `namespace/route#rule`.
pub fn tcp_rule(name: &str, backends: Vec<WeightedBackend>) -> TcpRule {
    TcpRule {
        name: rule_name(name),
        backends,
    }
}

/// Matches requests below a path.
pub fn prefix(path: &str) -> HttpMatch {
    HttpMatch {
        path: PathMatch::Prefix(path.to_owned()),
        ..HttpMatch::any()
    }
}

/// Matches requests that have this value of a header.
pub fn header(name: &str, value: &str) -> HttpMatch {
    HttpMatch {
        headers: vec![ValueMatch {
            name: name.to_owned(),
            value: TextMatch::Exact(value.to_owned()),
        }],
        ..HttpMatch::any()
    }
}

/// A Service's port as a backend, without filters.
pub fn backend(service: &str, port: u16, weight: u32) -> WeightedBackend {
    WeightedBackend {
        weight,
        target: BackendTarget::Service {
            service: service.parse().unwrap(),
            port,
        },
        filters: Vec::new(),
    }
}

/// A backend that does not resolve.
pub fn invalid_backend(weight: u32) -> WeightedBackend {
    WeightedBackend {
        weight,
        target: BackendTarget::Invalid {
            reason: "there is no such Service".to_owned(),
        },
        filters: Vec::new(),
    }
}

/// Retries on these statuses and on every failure without an answer, of idempotent methods only, after 25 to 250 ms.
pub fn retry(attempts: u32, statuses: &[u16]) -> Retry {
    Retry {
        attempts,
        statuses: statuses.to_vec(),
        grpc_statuses: Vec::new(),
        on: vec![RetryOn::ConnectFailure, RetryOn::Reset, RetryOn::Timeout],
        non_idempotent: false,
        backoff: Duration::from_millis(25),
        max_backoff: Duration::from_millis(250),
    }
}

/// Ejects an endpoint for 30 s, and half of all at most, after so many 5xx one after another.
pub fn outliers(consecutive_5xx: u32) -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx: Some(consecutive_5xx),
        consecutive_gateway: None,
        success_rate: None,
        interval: Duration::from_secs(10),
        base_ejection: Duration::from_secs(30),
        max_ejection: Duration::from_mins(5),
        max_ejected_percent: 50,
    }
}

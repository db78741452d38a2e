//! Builders of small worlds, for tests. They panic on bad input.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "test fixtures: a bad literal shall stop the test"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{
    AppProtocol, Endpoint, EndpointSet, Identity, Locality, NetworkMode, NodeName, PortMapping, PortPolicy,
    ResourceName, Service, ServicePort, TrustDomain, Tunnel, Workload, WorkloadPort,
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

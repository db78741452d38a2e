//! What the mesh is told: workloads, Services, and everything that the targets want switched on: routes, a policy.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use mesh_harness::manifest::ServiceManifest;
use mesh_harness::{Mesh, Workload};

use crate::plan::{Distance, Protocol};
use crate::servers::{HTTP1_PORT, HTTP2_PORT};

pub(super) const NAMESPACE: &str = "bench";
/// Workloads on each node that only have to be there, so that there are four.
const AGENTS: [(&str, u16); 3] = [("agent-1", 7111), ("agent-2", 7112), ("agent-3", 7113)];
/// Ports of each Service: name, port, the server's port, what is spoken.
const PORTS: [(&str, u16, u16, &str); 3] = [
    ("http", 80, HTTP1_PORT, "http"),
    ("two", 81, HTTP2_PORT, "kubernetes.io/h2c"),
    ("bytes", 90, HTTP1_PORT, "tcp"),
];
/// The policy that all requests are under, as Envoy's routes and clusters have it.
const POLICY: &str = "timeouts: { request: 15s }\n  retries: { attempts: 1, statuses: [503] }\n  \
                      outlierDetection: { consecutive5xx: 5 }\n";

/// Where clients find a Service.
pub(super) fn address(distance: Distance) -> IpAddr {
    Ipv4Addr::new(
        10,
        96,
        0,
        match distance {
            Distance::SameNode => 1,
            Distance::BetweenNodes => 2,
        },
    )
    .into()
}

/// A Service's port.
pub(super) fn port(protocol: Protocol) -> u16 {
    match protocol {
        Protocol::Http1 => 80,
        Protocol::Http2 | Protocol::Grpc => 81,
        Protocol::L4 => 90,
    }
}

/// Puts the pods in the mesh, with their Services.
pub(super) fn enrol(mesh: &mut Mesh, client: &Workload, near: &Workload, far: &Workload) -> Result<()> {
    mesh.enrol(NAMESPACE, "node-a", client, |workload| workload)?;
    for (node, server) in [("node-a", near), ("node-b", far)] {
        mesh.enrol(NAMESPACE, node, server, |workload| {
            workload.port("http", HTTP1_PORT).port("two", HTTP2_PORT)
        })?;
    }
    for (node, agents) in [("node-a", &AGENTS[..2]), ("node-b", &AGENTS[..])] {
        for (name, port) in agents {
            let letter = node.trim_start_matches("node-");
            let agent = mesh.add_host_workload(node, &format!("{name}{letter}"))?;
            mesh.enrol(NAMESPACE, node, &agent, |workload| workload.port("own", *port))?;
        }
    }
    for (name, distance) in [("near", Distance::SameNode), ("far", Distance::BetweenNodes)] {
        let service = ServiceManifest::new(NAMESPACE, name).address(&address(distance).to_string());
        let service = PORTS
            .iter()
            .fold(service, |service, (name, port, target, spoken)| {
                service.named_port(name, *port, *target, Some(spoken))
            });
        mesh.manifests.service(&service)?;
        mesh.manifests
            .write(&format!("routes-{name}.yaml"), &routes(name))?;
        for node in &mesh.nodes {
            node.wait_service(&format!("{NAMESPACE}/{name}"), 1)?;
        }
    }
    Ok(())
}

/// One rule for each port that speaks HTTP, and the policy.
fn routes(service: &str) -> String {
    let mut yaml = String::new();
    for (name, port) in [("http", 80), ("two", 81)] {
        yaml.push_str(&route(&format!("{service}-{name}"), service, port, "/files"));
    }
    yaml.push_str(&policy(service));
    yaml
}

fn route(name: &str, service: &str, port: u16, prefix: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
         metadata: {{ name: {name}, namespace: {NAMESPACE} }}\nspec:\n  \
         parentRefs: [ {{ group: \"\", kind: Service, name: {service}, port: {port} }} ]\n  rules:\n  \
         - matches: [ {{ path: {{ type: PathPrefix, value: {prefix} }} }} ]\n    \
         backendRefs: [ {{ name: {service}, port: {port} }} ]\n---\n"
    )
}

fn policy(service: &str) -> String {
    format!(
        "apiVersion: nodemesh.io/v1alpha1\nkind: TrafficPolicy\n\
         metadata: {{ name: {service}, namespace: {NAMESPACE} }}\nspec:\n  \
         targetRefs: [ {{ kind: Service, name: {service} }} ]\n  {POLICY}"
    )
}

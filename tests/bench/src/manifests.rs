//! What the mesh is told: workloads, Services, and everything that the targets want switched on: routes, a policy.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use mesh_harness::manifest::{ServiceManifest, WorkloadManifest};
use mesh_harness::{Mesh, Workload};

use crate::plan::Distance;
use crate::servers::{BULK_PORT, GRPC_PORT, HTTP1_PORT, HTTP2_PORT, Way};
use crate::swap::Swap;

/// The namespace of all workloads.
pub(crate) const NAMESPACE: &str = "bench";
/// The rule that requests meet.
pub(crate) const PREFIX: &str = "/files";
/// How many rules there are where there are many.
const MANY: usize = 1000;
/// Workloads on each node that only have to be there, so that there are four.
const AGENTS: [(&str, u16); 3] = [("agent-1", 7111), ("agent-2", 7112), ("agent-3", 7113)];
/// The label of the servers that come and go, and of the one that stays.
const POOL: &str = "pool";
/// Ports of each Service: name, port, the server's port, what is spoken.
const PORTS: [(&str, u16, u16, &str); 5] = [
    ("http", 80, HTTP1_PORT, "http"),
    ("two", 81, HTTP2_PORT, "kubernetes.io/h2c"),
    ("calls", 82, GRPC_PORT, "grpc"),
    ("bytes", 90, HTTP1_PORT, "tcp"),
    ("bulk", 91, BULK_PORT, "tcp"),
];
/// The policy that all requests are under, as Envoy's routes and clusters have it.
const POLICY: &str = "timeouts: { request: 15s }\n  retries: { attempts: 1, statuses: [503] }\n  \
                      outlierDetection: { consecutive5xx: 5 }\n";

/// The pods of the mesh.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pods<'a> {
    pub(crate) client: &'a Workload,
    pub(crate) near: &'a Workload,
    pub(crate) far: &'a Workload,
}

/// Where clients find a way's Service.
pub(crate) fn address(distance: Distance, way: Way) -> SocketAddr {
    let service = match (way, distance) {
        (Way::Many, _) => 3,
        (Way::Churn, _) => 4,
        (_, Distance::SameNode) => 1,
        (_, Distance::BetweenNodes) => 2,
    };
    let port = match way {
        Way::Http1 | Way::Many | Way::Churn => 80,
        Way::Http2 => 81,
        Way::Grpc => 82,
        Way::Bytes => 90,
        Way::Bulk => 91,
    };
    SocketAddr::new(Ipv4Addr::new(10, 96, 0, service).into(), port)
}

/// The prefixes of many rules, with the one that requests meet in their middle.
pub(crate) fn many_prefixes() -> Vec<String> {
    let mut prefixes: Vec<String> = (1..MANY).map(|number| format!("/r{number}")).collect();
    prefixes.insert(MANY / 2, PREFIX.to_owned());
    prefixes
}

/// Puts the pods in the mesh, with their Services.
pub(crate) fn enrol(mesh: &mut Mesh, pods: Pods<'_>) -> Result<()> {
    mesh.enrol(NAMESPACE, "node-a", pods.client, |workload| workload)?;
    mesh.enrol(NAMESPACE, "node-a", pods.near, server)?;
    mesh.enrol(NAMESPACE, "node-b", pods.far, |workload| {
        server(workload).label(POOL, "churn")
    })?;
    for (node, agents) in [("node-a", &AGENTS[..2]), ("node-b", &AGENTS[..])] {
        for (name, port) in agents {
            let letter = node.trim_start_matches("node-");
            let agent = mesh.add_host_workload(node, &format!("{name}{letter}"))?;
            mesh.enrol(NAMESPACE, node, &agent, |workload| workload.port("own", *port))?;
        }
    }
    for (name, distance) in [("near", Distance::SameNode), ("far", Distance::BetweenNodes)] {
        let manifest = ServiceManifest::new(NAMESPACE, name);
        add_service(mesh, name, manifest, (distance, Way::Http1), 1)?;
        mesh.manifests
            .write(&format!("routes-{name}.yaml"), &routes(name))?;
    }
    Ok(())
}

/// A Service with a thousand rules.
pub(crate) fn add_many(mesh: &Mesh) -> Result<()> {
    let manifest = ServiceManifest::new(NAMESPACE, "many").selects("far");
    add_service(mesh, "many", manifest, (Distance::BetweenNodes, Way::Many), 1)?;
    let mut yaml = policy("many");
    for (number, prefix) in many_prefixes().iter().enumerate() {
        yaml.push_str(&route(&format!("many-{number}"), "many", 80, prefix));
    }
    mesh.manifests.write("routes-many.yaml", &yaml)
}

/// A Service with two endpoints, and what lets one of them come and go.
pub(crate) fn add_churn(mesh: &Mesh, second: &Workload) -> Result<Swap> {
    let pooled = |workload: WorkloadManifest| server(workload).label(POOL, "churn");
    mesh.enrol(NAMESPACE, "node-b", second, pooled)?;
    let manifest = ServiceManifest::new(NAMESPACE, "churn").selects_label(POOL, "churn");
    add_service(mesh, "churn", manifest, (Distance::BetweenNodes, Way::Churn), 2)?;
    mesh.manifests.write(
        "routes-churn.yaml",
        &format!("{}{}", policy("churn"), route("churn", "churn", 80, PREFIX)),
    )?;
    let manifest = pooled(WorkloadManifest::new(NAMESPACE, "node-b", second));
    let file = mesh.manifests.workload(&manifest)?;
    Ok(Swap {
        file: mesh.manifests.folder().join(file),
        texts: [manifest.clone().yaml(), manifest.ready(false).yaml()],
    })
}

fn server(workload: WorkloadManifest) -> WorkloadManifest {
    PORTS
        .iter()
        .filter(|(name, ..)| *name != "bytes") // the port of HTTP/1.1 has a name already
        .fold(workload, |workload, (name, _, port, _)| {
            workload.port(name, *port)
        })
}

fn add_service(
    mesh: &Mesh,
    name: &str,
    manifest: ServiceManifest,
    at: (Distance, Way),
    endpoints: usize,
) -> Result<()> {
    let service = manifest.address(&address(at.0, at.1).ip().to_string());
    let service = PORTS
        .iter()
        .fold(service, |service, (name, port, target, spoken)| {
            service.named_port(name, *port, *target, Some(spoken))
        });
    mesh.manifests.service(&service)?;
    mesh.nodes
        .iter()
        .try_for_each(|node| node.wait_service(&format!("{NAMESPACE}/{name}"), endpoints))
}

/// One rule for each port that speaks HTTP, and the policy.
fn routes(service: &str) -> String {
    let mut yaml = policy(service);
    for (name, port) in [("http", 80), ("two", 81)] {
        yaml.push_str(&route(&format!("{service}-{name}"), service, port, PREFIX));
    }
    yaml.push_str(&rule(
        "GRPCRoute",
        &format!("{service}-calls"),
        service,
        82,
        "method: { service: bench.Bytes }",
    ));
    yaml
}

fn route(name: &str, service: &str, port: u16, prefix: &str) -> String {
    let path = format!("path: {{ type: PathPrefix, value: {prefix} }}");
    rule("HTTPRoute", name, service, port, &path)
}

fn rule(kind: &str, name: &str, service: &str, port: u16, fits: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\n\
         metadata: {{ name: {name}, namespace: {NAMESPACE} }}\nspec:\n  \
         parentRefs: [ {{ group: \"\", kind: Service, name: {service}, port: {port} }} ]\n  rules:\n  \
         - matches: [ {{ {fits} }} ]\n    backendRefs: [ {{ name: {service}, port: {port} }} ]\n---\n"
    )
}

fn policy(service: &str) -> String {
    let ports: Vec<String> = PORTS
        .iter()
        .filter(|(.., spoken)| *spoken != "tcp")
        .map(|(port, ..)| format!("{{ kind: Service, name: {service}, sectionName: {port} }}"))
        .collect();
    format!(
        "apiVersion: nodemesh.io/v1alpha1\nkind: TrafficPolicy\n\
         metadata: {{ name: {service}, namespace: {NAMESPACE} }}\nspec:\n  \
         targetRefs: [ {} ]\n  {POLICY}---\n",
        ports.join(", ")
    )
}

//! The echo hall: two nodes with a server on each that answers with what it saw, and clients on both.
//!
//! ```text
//!  node-a: client-a, echo-v1   consumer-a        Services mesh/echo (both servers), mesh/echo-v1, mesh/echo-v2
//!  node-b: client-b, echo-v2                     and one for each table of cases, with routes of its own
//! ```
//!
//! Every client has a server on its own node and one on the other. Pods are in the namespace `mesh`, but for the
//! consumer's, which is in `consumer`.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use mesh_harness::manifest::ServiceManifest;
use mesh_harness::node::{NodeProxy, NodeSettings};
use mesh_harness::{Mesh, MeshBuilder, Process, Workload, until};
use serde_json::Value;

use crate::MOMENT;
use crate::case::{self, Case, Target};
use crate::peers::{self, Certificate, GRPC_PORT, HTTP_PORT, WEBSOCKET_PORT};
use crate::routes::Route;
use crate::turns::Report;

/// Where everything but the consumer is.
pub const NAMESPACE: &str = "mesh";
/// Where the consumer is.
pub const CONSUMER: &str = "consumer";
/// The label that all servers have.
const SERVERS: (&str, &str) = ("part", "echo");

/// Ports of every Service, beside gRPC's: name, port, target port, what it says of the protocol.
pub const PORTS: [(&str, u16, u16, Option<&str>); 7] = [
    ("http", 80, HTTP_PORT, Some("http")),
    ("other", 8080, HTTP_PORT, Some("http")),
    ("undeclared", 8081, HTTP_PORT, None),
    ("two", 8082, HTTP_PORT, Some("kubernetes.io/h2c")),
    ("chat", 8090, WEBSOCKET_PORT, Some("kubernetes.io/ws")),
    ("secure", 443, HTTP_PORT, Some("https")),
    ("bytes", 9090, HTTP_PORT, Some("tcp")),
];

/// A condition of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// `True` or `False`.
    pub status: String,
    /// Why, as a word.
    pub reason: String,
    /// Why, in words.
    pub message: String,
}

/// The hall.
#[derive(Debug)]
pub struct Hall {
    /// Servers that run for as long as the hall.
    pub servers: Vec<Process>,
    /// The mesh around it.
    pub mesh: Mesh,
    /// A pod on node A that asks.
    pub client_a: Workload,
    /// A pod on node B that asks.
    pub client_b: Workload,
    /// A pod on node A that asks, of another namespace.
    pub consumer: Workload,
    /// The server on node A.
    pub v1: Workload,
    /// The server on node B.
    pub v2: Workload,
    certificate: Certificate,
    services: u8,
}

impl Hall {
    /// With settings that fit most tests.
    pub fn open() -> Result<Self> {
        Self::open_with(Mesh::builder().node_settings(NodeSettings::default()))
    }

    /// With settings of one's own; the nodes are added.
    pub fn open_with(builder: MeshBuilder) -> Result<Self> {
        let mut mesh = builder.node("node-a").node("node-b").prepare()?;
        mesh.manifests.namespace(NAMESPACE, true)?;
        mesh.manifests.namespace(CONSUMER, true)?;
        mesh.start_nodes()?;
        let folder = mesh.topology.folder().to_owned();
        let client_a = mesh.add_pod("node-a", "client-a")?;
        let client_b = mesh.add_pod("node-b", "client-b")?;
        let consumer = mesh.add_pod("node-a", "consumer-a")?;
        let v1 = mesh.add_pod("node-a", "echo-v1")?;
        let v2 = mesh.add_pod("node-b", "echo-v2")?;
        let certificate = Certificate::new(&folder)?;
        let mut servers = Vec::new();
        for pod in [&v1, &v2] {
            servers.push(peers::http_server(pod, &folder, &pod.name, &certificate)?);
            servers.push(peers::grpc_server(pod, &folder, &pod.name)?);
            servers.push(peers::websocket_server(pod, &folder, &pod.name)?);
        }
        for (namespace, node, pod) in [
            (NAMESPACE, "node-a", &client_a),
            (NAMESPACE, "node-b", &client_b),
            (CONSUMER, "node-a", &consumer),
        ] {
            mesh.enrol(namespace, node, pod, |workload| workload)?;
        }
        for (node, pod) in [("node-a", &v1), ("node-b", &v2)] {
            mesh.enrol(NAMESPACE, node, pod, |workload| {
                let workload = workload.label(SERVERS.0, SERVERS.1);
                let workload = workload.port("http", HTTP_PORT).port("grpc", GRPC_PORT);
                workload.port("chat", WEBSOCKET_PORT)
            })?;
            peers::wait_listening(pod, &servers)?;
        }
        let mut hall = Self {
            servers,
            mesh,
            client_a,
            client_b,
            consumer,
            v1,
            v2,
            certificate,
            services: 0,
        };
        hall.service("echo")?;
        hall.service_of("echo-v1", "echo-v1", 1)?;
        hall.service_of("echo-v2", "echo-v2", 1)?;
        Ok(hall)
    }

    /// Adds a Service with both servers behind it.
    pub fn service(&mut self, name: &str) -> Result<Target> {
        let manifest = ServiceManifest::new(NAMESPACE, name).selects_label(SERVERS.0, SERVERS.1);
        let manifest = manifest.named_port("calls", GRPC_PORT, GRPC_PORT, Some("kubernetes.io/h2c"));
        self.add(name, manifest, 2)
    }

    /// Adds a Service with the workloads behind it whose label `app` is this, and waits for so many. It does not say
    /// what is spoken at gRPC's port.
    pub fn service_of(&mut self, name: &str, app: &str, endpoints: usize) -> Result<Target> {
        let manifest = ServiceManifest::new(NAMESPACE, name).selects(app);
        let manifest = manifest.named_port("calls", GRPC_PORT, GRPC_PORT, None);
        self.add(name, manifest, endpoints)
    }

    fn add(&mut self, name: &str, manifest: ServiceManifest, endpoints: usize) -> Result<Target> {
        self.services = self.services.checked_add(1).context("too many Services")?;
        let v4 = format!("10.96.1.{}", self.services);
        let manifest = manifest
            .address(&v4)
            .address(&format!("fd00:96::1:{:x}", self.services));
        let manifest = PORTS
            .iter()
            .fold(manifest, |manifest, (port_name, port, target, protocol)| {
                manifest.named_port(port_name, *port, *target, *protocol)
            });
        self.mesh.manifests.service(&manifest)?;
        for node in &self.mesh.nodes {
            node.wait_service(&format!("{NAMESPACE}/{name}"), endpoints)?;
        }
        Ok(Target {
            host: format!("{name}.{NAMESPACE}"),
            address: v4.parse()?,
        })
    }

    /// The same Service by its other address, of IPv6.
    pub fn over_ipv6(&self, target: &Target) -> Result<Target> {
        let service = target.host.split('.').next().unwrap_or_default();
        self.find(service, IpAddr::is_ipv6)
    }

    /// A Service that is there already.
    pub fn target(&self, name: &str) -> Result<Target> {
        self.find(name, IpAddr::is_ipv4)
    }

    fn find(&self, name: &str, is_wanted: fn(&IpAddr) -> bool) -> Result<Target> {
        let services = self.a().admin("/services")?;
        let found = services.as_array().and_then(|all| {
            all.iter()
                .find(|one| one["name"] == format!("{NAMESPACE}/{name}"))
        });
        let addresses = found.with_context(|| format!("there is no Service {name}"))?["addresses"].as_array();
        let addresses = addresses.into_iter().flatten().filter_map(Value::as_str);
        let address: Option<IpAddr> = addresses.filter_map(|text| text.parse().ok()).find(is_wanted);
        Ok(Target {
            host: format!("{name}.{NAMESPACE}"),
            address: address.with_context(|| format!("{name} has no such address"))?,
        })
    }

    /// Writes routes at once, and waits until the control plane has judged them and nodes have those that it accepts.
    /// Of a route that was there before, nodes may still have the former rules.
    pub fn routes(&self, routes: &[Route]) -> Result<()> {
        let written = self.write_routes(routes);
        if written.is_err() {
            // One that is refused would keep those of the next tests out of force.
            for route in routes {
                let _absent = self.remove(&route.file());
            }
        }
        written
    }

    fn write_routes(&self, routes: &[Route]) -> Result<()> {
        for route in routes {
            self.write(&route.file(), &route.yaml())?;
        }
        for route in routes {
            let what = format!("{} {} to be judged", route.kind(), route.full_name());
            until(&what, MOMENT, || {
                Ok(is_judged(&self.status(route)?, route.generation()).then_some(()))
            })
            .with_context(|| format!("{}\n{}", self.problems(), route.yaml()))?;
        }
        for route in routes {
            let status = self.status(route)?;
            let parents = status["parents"].as_array().map_or(&[][..], Vec::as_slice);
            let accepted = parents.iter().filter(|parent| is_accepted(parent));
            for service in accepted.filter_map(|parent| parent["parent"].as_str()) {
                self.wait_nodes(service, &route.full_name())?;
            }
        }
        Ok(())
    }

    /// Waits until both nodes have rules of a route for a Service.
    fn wait_nodes(&self, service: &str, route: &str) -> Result<()> {
        // A rule's name is its route's, "#", and its own.
        let route = format!("{route}#");
        let is_of = |rule: &Value| rule["name"].as_str().is_some_and(|name| name.starts_with(&route));
        for node in &self.mesh.nodes {
            let what = format!("{} to have {route} for {service}", node.node.name);
            until(&what, MOMENT, || {
                let groups = node.admin("/routes")?;
                let groups = groups.as_array().map_or(&[][..], Vec::as_slice);
                let mut groups = groups.iter().filter(|group| group["service"] == service);
                let has_it = groups.any(|group| {
                    let rules = group["rules"].as_array();
                    rules.is_some_and(|rules| rules.iter().any(is_of))
                });
                Ok(has_it.then_some(()))
            })
            .with_context(|| node.log_tail())?;
        }
        Ok(())
    }

    /// What the control plane says of a route; null before it knows it.
    pub fn status(&self, route: &Route) -> Result<Value> {
        let report = self.mesh.control.admin("/routes")?;
        let all = report["in_force"]["routes"].as_array();
        let is_it = |one: &&Value| one["kind"] == route.kind() && one["name"] == route.full_name();
        Ok(all
            .and_then(|all| all.iter().find(is_it))
            .cloned()
            .unwrap_or_default())
    }

    /// A condition of a route at its first parent.
    pub fn condition(&self, route: &Route, kind: &str) -> Result<Condition> {
        let status = self.status(route)?;
        let conditions = status["parents"][0]["conditions"].as_array();
        let found = conditions.and_then(|all| all.iter().find(|one| one["type"] == kind));
        let found =
            found.with_context(|| format!("{} has no condition {kind}: {status:#}", route.full_name()))?;
        let field = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
        Ok(Condition {
            status: field("status"),
            reason: field("reason"),
            message: field("message"),
        })
    }

    /// What the control plane has against the manifests.
    pub fn problems(&self) -> String {
        self.mesh.control.admin("/problems").map_or_else(
            |error| format!("{error:#}"),
            |problems| format!("mesh-control's problems: {problems:#}"),
        )
    }

    /// Writes a manifest; the end of the file's name is added.
    pub fn write(&self, file: &str, yaml: &str) -> Result<()> {
        self.mesh.manifests.write(&format!("{file}.yaml"), yaml)
    }

    /// Removes what [`Self::write`] wrote.
    pub fn remove(&self, file: &str) -> Result<()> {
        self.mesh.manifests.remove(&format!("{file}.yaml"))
    }

    /// Asks everything from the clients on both nodes.
    pub fn check(&self, target: &Target, cases: &[Case]) -> Result<()> {
        case::check(target, &[&self.client_a, &self.client_b], cases)
    }

    /// Starts the second HTTP server anew, which has ended, in its place among the servers.
    pub fn restart_http(&mut self, at: usize) -> Result<()> {
        let folder = self.folder();
        let server = peers::http_server(&self.v2, &folder, &self.v2.name, &self.certificate)?;
        self.servers[at] = server;
        self.v2.place.wait_listening(HTTP_PORT, MOMENT)
    }

    /// The first node.
    pub fn a(&self) -> &NodeProxy {
        &self.mesh.nodes[0]
    }

    /// The second node.
    pub fn b(&self) -> &NodeProxy {
        &self.mesh.nodes[1]
    }

    /// The temporary folder.
    pub fn folder(&self) -> PathBuf {
        self.mesh.topology.folder().to_owned()
    }
}

/// Whether every condition of a route is about this generation.
fn is_judged(status: &Value, generation: i64) -> bool {
    let parents = status["parents"].as_array().map_or(&[][..], Vec::as_slice);
    let mut conditions = parents
        .iter()
        .flat_map(|parent| parent["conditions"].as_array().map_or(&[][..], Vec::as_slice));
    !status.is_null() && conditions.all(|condition| condition["observed_generation"] == generation)
}

fn is_accepted(parent: &Value) -> bool {
    let conditions = parent["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let accepted = conditions.iter().find(|one| one["type"] == "Accepted");
    let has_ports = parent["ports"].as_array().is_some_and(|ports| !ports.is_empty());
    has_ports && accepted.is_some_and(|one| one["status"] == "True")
}

impl Report for Hall {
    fn report(&self) -> String {
        self.mesh.logs()
    }
}

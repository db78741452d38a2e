//! The farm: servers on two nodes that fail, dawdle and count as they are told, and clients of both nodes.
//!
//! ```text
//!  node-a (zone north-1): client-a, other-a, s0, s1
//!  node-b (zone north-2): client-b, s2, s3
//! ```
//!
//! Every test has Services of its own, with a traffic policy each.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use mesh_harness::manifest::{ServiceManifest, WorkloadManifest};
use mesh_harness::node::{NodeProxy, NodeSettings};
use mesh_harness::{Mesh, Process, Workload, binaries, http};
use serde_json::Value;

use crate::LONG;
use crate::turns::Report;

/// The namespace of everything.
pub const NAMESPACE: &str = "farm";
/// Where servers listen.
pub const PORT: u16 = 8080;
/// Where servers are told what to do, on the loopback.
const ADMIN_PORT: u16 = 9000;
/// The label that all servers have.
const SERVERS: (&str, &str) = ("part", "server");
/// The nodes and their zones.
const NODES: [(&str, &str); 2] = [("node-a", "north-1"), ("node-b", "north-2")];
/// The region of both.
const REGION: &str = "north";
/// What servers run.
const SCRIPT: &str = include_str!("peers/farm_server.js");

/// The farm.
#[derive(Debug)]
pub struct Farm {
    /// The mesh around it.
    pub mesh: Mesh,
    /// A pod on node A that asks.
    pub client_a: Workload,
    /// Another one, with an identity of its own.
    pub other_a: Workload,
    /// A pod on node B that asks.
    pub client_b: Workload,
    /// Two on node A, two on node B.
    pub servers: Vec<Workload>,
    processes: Vec<Process>,
    services: u8,
}

/// What a server has counted.
#[derive(Debug, Clone)]
pub struct Counts {
    /// Requests, however they ended.
    pub requests: u64,
    /// Those that it failed.
    pub failed: u64,
    /// Most at a time.
    pub most: u64,
    /// How often each target was POSTed.
    pub posts: Vec<(String, u64)>,
}

// === impl Farm ===

impl Farm {
    /// With everything running.
    pub fn open() -> Result<Self> {
        let builder = Mesh::builder().node_settings(NodeSettings::default());
        let builder = NODES
            .iter()
            .fold(builder, |builder, (node, _)| builder.node(node));
        let mut mesh = builder.prepare()?;
        mesh.manifests.namespace(NAMESPACE, true)?;
        mesh.start_nodes()?;
        let client_a = mesh.add_pod("node-a", "client-a")?;
        let other_a = mesh.add_pod("node-a", "other-a")?;
        let client_b = mesh.add_pod("node-b", "client-b")?;
        let script = mesh.topology.folder().join("farm_server.js");
        std::fs::write(&script, SCRIPT).with_context(|| format!("write {}", script.display()))?;
        let (mut servers, mut processes) = (Vec::new(), Vec::new());
        for (number, (node, _)) in [NODES[0], NODES[0], NODES[1], NODES[1]].iter().enumerate() {
            let server = mesh.add_pod(node, &format!("s{number}"))?;
            processes.push(start(&server, &script)?);
            servers.push(server);
        }
        let farm = Self {
            mesh,
            client_a,
            other_a,
            client_b,
            servers,
            processes,
            services: 0,
        };
        for (node, client) in [
            ("node-a", &farm.client_a),
            ("node-a", &farm.other_a),
            ("node-b", &farm.client_b),
        ] {
            farm.mesh
                .enrol(NAMESPACE, node, client, |manifest| placed(manifest, node))?;
        }
        for number in 0..farm.servers.len() {
            let server = &farm.servers[number];
            farm.mesh.enrol(NAMESPACE, node_of(number), server, |manifest| {
                shaped(manifest, number)
            })?;
            server
                .place
                .wait_listening(PORT, LONG)
                .with_context(|| farm.processes[number].log_tail())?;
        }
        Ok(farm)
    }

    /// A Service with all servers behind it and a traffic policy: the fields of its `spec`, in YAML, each beginning at the
    /// first column. Gives its address and port.
    pub fn service(&mut self, name: &str, policy: &str) -> Result<SocketAddr> {
        let manifest = ServiceManifest::new(NAMESPACE, name).selects_label(SERVERS.0, SERVERS.1);
        self.add(name, (manifest, "http"), self.servers.len(), policy)
    }

    /// A Service with all servers behind it, whose bytes are not looked into.
    pub fn service_of_bytes(&mut self, name: &str, policy: &str) -> Result<SocketAddr> {
        let manifest = ServiceManifest::new(NAMESPACE, name).selects_label(SERVERS.0, SERVERS.1);
        self.add(name, (manifest, "tcp"), self.servers.len(), policy)
    }

    /// A Service with one server behind it.
    pub fn service_of(&mut self, name: &str, server: usize, policy: &str) -> Result<SocketAddr> {
        let manifest = ServiceManifest::new(NAMESPACE, name).selects(&format!("s{server}"));
        self.add(name, (manifest, "http"), 1, policy)
    }

    fn add(
        &mut self,
        name: &str,
        (manifest, protocol): (ServiceManifest, &str),
        endpoints: usize,
        policy: &str,
    ) -> Result<SocketAddr> {
        self.services = self.services.checked_add(1).context("too many Services")?;
        let address = format!("10.96.2.{}", self.services);
        let manifest = manifest.address(&address);
        let manifest = manifest.named_port("main", 80, PORT, Some(protocol));
        let mut yaml = manifest.yaml();
        if !policy.is_empty() {
            yaml.push_str(&traffic_policy(name, policy));
        }
        // One file: the Service comes to nodes with its policy.
        self.mesh
            .manifests
            .write(&format!("service-{name}.yaml"), &yaml)?;
        for node in &self.mesh.nodes {
            node.wait_service(&format!("{NAMESPACE}/{name}"), endpoints)
                .with_context(|| self.problems())?;
        }
        Ok(SocketAddr::new(address.parse()?, 80))
    }

    /// Changes a server's manifest.
    pub fn reshape(
        &self,
        number: usize,
        change: impl FnOnce(WorkloadManifest) -> WorkloadManifest,
    ) -> Result<()> {
        let manifest = WorkloadManifest::new(NAMESPACE, node_of(number), &self.servers[number]);
        let manifest = change(shaped(manifest, number));
        self.mesh.manifests.workload(&manifest).map(drop)
    }

    /// Waits until both nodes have so many servers ready behind a Service.
    pub fn wait_ready(&self, name: &str, ready: usize) -> Result<()> {
        for node in &self.mesh.nodes {
            let what = format!("{ready} ready endpoints of {name} at {}", node.node.name);
            mesh_harness::until(&what, LONG, || {
                let endpoints = endpoints(node, name)?;
                let ready_ones = endpoints.iter().filter(|one| one["is_ready"] == true);
                let mut workloads: Vec<&str> =
                    ready_ones.filter_map(|one| one["workload"].as_str()).collect();
                workloads.sort_unstable();
                // Each has an address of either family.
                workloads.dedup();
                Ok((workloads.len() == ready).then_some(()))
            })?;
        }
        Ok(())
    }

    /// All servers as they were made, whatever a test has left.
    pub fn restore(&mut self) -> Result<()> {
        for server in 0..self.servers.len() {
            self.reshape(server, |manifest| manifest)?;
            if !self.processes[server].is_running() {
                self.revive(server)?;
            }
        }
        self.clear()
    }

    /// Tells a server what to do with requests, as `farm_server.js` has it: `fail=30&status=503`.
    pub fn tell(&self, server: usize, what: &str) -> Result<()> {
        self.admin(server, &format!("/set?{what}")).map(drop)
    }

    /// Tells all servers to do nothing special, and to forget what they have counted.
    pub fn clear(&self) -> Result<()> {
        (0..self.servers.len()).try_for_each(|server| self.admin(server, "/clear").map(drop))
    }

    /// What each server has counted.
    pub fn counts(&self) -> Result<Vec<Counts>> {
        (0..self.servers.len()).map(|server| self.count(server)).collect()
    }

    /// What one server has counted.
    pub fn count(&self, server: usize) -> Result<Counts> {
        let all = self.admin(server, "/counts")?;
        let number = |name: &str| all[name].as_u64().with_context(|| format!("no {name}: {all}"));
        let posts = all["posts"].as_array().into_iter().flatten();
        let posts = posts.filter_map(|post| Some((post[0].as_str()?.to_owned(), post[1].as_u64()?)));
        Ok(Counts {
            requests: number("requests")?,
            failed: number("failed")?,
            most: number("most")?,
            posts: posts.collect(),
        })
    }

    fn admin(&self, server: usize, path: &str) -> Result<Value> {
        let at = SocketAddr::from(([127, 0, 0, 1], ADMIN_PORT));
        let answer = http::get(self.servers[server].place.netns(), at, path)?;
        serde_json::from_str(&answer.body).with_context(|| format!("{path} of s{server}"))
    }

    /// Kills a server: its machine answers connects with a reset.
    pub fn kill(&mut self, server: usize) -> Result<()> {
        self.processes[server].kill()
    }

    /// Starts it again.
    pub fn revive(&mut self, server: usize) -> Result<()> {
        let script = self.folder().join("farm_server.js");
        self.processes[server] = start(&self.servers[server], &script)?;
        self.servers[server].place.wait_listening(PORT, LONG)
    }

    /// The clients' nodes, A and B.
    pub fn node(&self, number: usize) -> &NodeProxy {
        &self.mesh.nodes[number]
    }

    /// The temporary folder.
    pub fn folder(&self) -> PathBuf {
        self.mesh.topology.folder().to_owned()
    }

    /// What the control plane has against the manifests.
    pub fn problems(&self) -> String {
        let problems = self.mesh.control.admin("/problems");
        problems.map_or_else(|error| format!("{error:#}"), |problems| format!("{problems:#}"))
    }
}

/// What a node says of a Service's endpoints.
pub fn endpoints(node: &NodeProxy, service: &str) -> Result<Vec<Value>> {
    let services = node.admin("/services")?;
    let name = format!("{NAMESPACE}/{service}");
    let mut services = services.as_array().into_iter().flatten();
    let found = services.find(|one| one["name"] == name);
    let endpoints = found.and_then(|one| one["endpoints"].as_array().cloned());
    Ok(endpoints.unwrap_or_default())
}

fn start(server: &Workload, script: &std::path::Path) -> Result<Process> {
    let program = server.place.program_at("farm", &binaries::theirs("node")?);
    let program = program.arg(script).arg(&server.name);
    program.args([PORT.to_string(), ADMIN_PORT.to_string()]).spawn()
}

fn node_of(server: usize) -> &'static str {
    NODES[server / 2].0
}

fn placed(manifest: WorkloadManifest, node: &str) -> WorkloadManifest {
    let zone = NODES.iter().find(|(known, _)| *known == node);
    manifest.locality(REGION, zone.map_or("", |(_, zone)| zone))
}

fn shaped(manifest: WorkloadManifest, server: usize) -> WorkloadManifest {
    let manifest = manifest.label(SERVERS.0, SERVERS.1).port("http", PORT);
    placed(manifest, node_of(server))
}

fn traffic_policy(service: &str, spec: &str) -> String {
    let head = format!(
        "---\napiVersion: nodemesh.io/v1alpha1\nkind: TrafficPolicy\nmetadata: {{ name: {service}, namespace: {NAMESPACE} }}\n\
         spec:\n  targetRefs: [ {{ kind: Service, name: {service} }} ]\n"
    );
    let lines = spec.trim_matches('\n').lines();
    lines.fold(head, |yaml, line| yaml + "  " + line + "\n")
}

impl Report for Farm {
    fn report(&self) -> String {
        self.mesh.logs()
    }
}

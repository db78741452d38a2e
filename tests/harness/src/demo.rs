//! The demo's mesh: the manifests of examples/demo, with mesh-echo as every server, and the other folders of examples
//! on top of it. `cargo xtask run` shows it, and a suite of tests checks each example in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::topology::Workload;
use crate::wait::until;
use crate::{Mesh, NodeProxy, Process};

/// Stands in the manifests for the run's prefix.
const PREFIX: &str = "${PREFIX}";
/// mesh-echo listens at once.
const LISTENING: Duration = Duration::from_secs(10);
/// A manifest is in force everywhere within a second; a loaded machine gets the rest.
const IN_FORCE: Duration = Duration::from_secs(20);
/// Where mesh-echo serves HTTP.
const HTTP_PORT: u16 = 7080;

/// What a workload of the demo runs.
#[derive(Debug, Clone, Copy)]
enum Runs {
    /// Nothing yet: it is a client.
    Nothing,
    /// Sends bytes back, at this port.
    Bytes(u16),
    /// Answers HTTP, with these arguments beside the port and the name.
    Http(&'static [&'static str]),
}

/// Everything that runs in the demo: name, node, whether on its node's network, what. The addresses in the manifests
/// follow from this order.
const WORKLOADS: [(&str, &str, bool, Runs); 15] = [
    ("shop/frontend", "node-a", false, Runs::Nothing),
    ("shop/cart", "node-a", false, Runs::Bytes(7000)),
    ("shop/catalog", "node-b", false, Runs::Bytes(7000)),
    ("bank/ledger", "node-b", true, Runs::Bytes(7100)),
    ("shop/web-v1", "node-b", false, Runs::Http(&["--version", "v1"])),
    ("shop/web-v2", "node-a", false, Runs::Http(&["--version", "v2"])),
    (
        "shop/search-v1",
        "node-a",
        false,
        Runs::Http(&["--version", "v1"]),
    ),
    (
        "shop/search-v2",
        "node-b",
        false,
        Runs::Http(&["--version", "v2"]),
    ),
    ("shop/stock-1", "node-a", false, Runs::Http(&["--fail", "30"])),
    ("shop/stock-2", "node-b", false, Runs::Http(&["--fail", "30"])),
    ("shop/prices-1", "node-a", false, Runs::Http(&[])),
    ("shop/prices-2", "node-b", false, Runs::Http(&[])),
    ("shop/prices-3", "node-b", false, Runs::Http(&["--fail", "100"])),
    ("shop/reports-1", "node-b", false, Runs::Http(&["--delay", "2s"])),
    ("shop/orders-1", "node-b", false, Runs::Http(&[])),
];

/// Its Services, and how many endpoints each has.
const SERVICES: [(&str, usize); 13] = [
    ("shop/catalog", 1),
    ("shop/cart", 1),
    ("bank/ledger", 1),
    ("shop/web", 2),
    ("shop/web-v1", 1),
    ("shop/web-v2", 1),
    ("shop/search", 2),
    ("shop/search-v1", 1),
    ("shop/search-v2", 1),
    ("shop/stock", 2),
    ("shop/prices", 3),
    ("shop/reports", 1),
    ("shop/orders", 1),
];

/// A running demo. Fields are dropped in this order: the servers first.
#[derive(Debug)]
pub struct Demo {
    servers: Vec<(&'static str, Process)>,
    /// Who is where.
    pub members: Vec<Member>,
    /// The mesh around it.
    pub mesh: Mesh,
}

/// A workload of the demo.
#[derive(Debug)]
pub struct Member {
    /// `namespace/name`.
    pub name: &'static str,
    /// Its node.
    pub node: &'static str,
    /// Where it runs.
    pub workload: Workload,
}

/// The folder of an example.
pub fn folder(example: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .join(example)
}

// === impl Demo ===

impl Demo {
    /// Brings everything up but the examples, and waits until every workload is in the mesh and every server listens.
    pub fn start() -> Result<Self> {
        let mut mesh = Mesh::builder().node("node-a").node("node-b").prepare()?;
        let mut members = Vec::new();
        for (name, node, is_on_host, _) in WORKLOADS {
            let (_, short) = name.split_once('/').context("a name has a namespace")?;
            let workload = if is_on_host {
                mesh.add_host_workload(node, short)?
            } else {
                mesh.add_pod(node, short)?
            };
            members.push(Member { name, node, workload });
        }
        let mut demo = Self {
            servers: Vec::new(),
            members,
            mesh,
        };
        demo.write("demo")?;
        demo.mesh.start_nodes()?;
        for member in &demo.members {
            demo.mesh.node(member.node)?.wait_captured(member.name)?;
        }
        for node in &demo.mesh.nodes {
            for (service, endpoints) in SERVICES {
                node.wait_service(service, endpoints)?;
            }
        }
        for (name, _, _, runs) in WORKLOADS {
            let server = demo.serve(name, runs)?;
            demo.servers.extend(server.map(|server| (name, server)));
        }
        Ok(demo)
    }

    /// Puts an example in force, and waits until both nodes have it.
    pub fn apply(&self, example: &str) -> Result<()> {
        let before = self.responses()?;
        let kinds = self.write(example)?;
        self.wait_told(&kinds, &before)
            .with_context(|| format!("put examples/{example} in force"))
    }

    /// Takes an example back, and waits until neither node has it.
    pub fn withdraw(&self, example: &str) -> Result<()> {
        let before = self.responses()?;
        let mut kinds = Vec::new();
        for (file, text) in self.manifests(example)? {
            self.mesh.manifests.remove(&file)?;
            kinds.push(told_as(&text));
        }
        self.wait_told(&kinds, &before)
            .with_context(|| format!("take examples/{example} back"))
    }

    /// A workload by `namespace/name`.
    pub fn workload(&self, name: &str) -> Result<&Workload> {
        let found = self.members.iter().find(|member| member.name == name);
        found
            .map(|member| &member.workload)
            .with_context(|| format!("the demo has no workload {name}"))
    }

    /// The node that a workload runs on.
    pub fn node_of(&self, name: &str) -> Result<&NodeProxy> {
        let found = self.members.iter().find(|member| member.name == name);
        let member = found.with_context(|| format!("the demo has no workload {name}"))?;
        self.mesh.node(member.node)
    }

    /// What a server has written: of HTTP, a line for each request.
    pub fn server_log(&self, name: &str) -> Result<String> {
        let found = self.servers.iter().find(|(server, _)| *server == name);
        let (_, server) = found.with_context(|| format!("{name} serves nothing"))?;
        Ok(server.log())
    }

    fn serve(&self, name: &str, runs: Runs) -> Result<Option<Process>> {
        let (role, port, more): (_, _, &[&str]) = match runs {
            Runs::Nothing => return Ok(None),
            Runs::Bytes(port) => ("serve", port, &[]),
            Runs::Http(more) => ("http", HTTP_PORT, more),
        };
        let place = &self.workload(name)?.place;
        let program = place.our_program("mesh-echo")?;
        let listen = format!("[::]:{port}");
        let process = program
            .args([role, "--listen", &listen, "--name", name])
            .args(more)
            .spawn()?;
        place.wait_listening(port, LISTENING)?;
        Ok(Some(process))
    }

    /// Copies an example's manifests to where the control plane reads them; gives what nodes are told them as.
    fn write(&self, example: &str) -> Result<Vec<&'static str>> {
        let mut kinds = Vec::new();
        for (file, text) in self.manifests(example)? {
            self.mesh.manifests.write(&file, &text)?;
            kinds.push(told_as(&text));
        }
        Ok(kinds)
    }

    /// The manifests of an example: their names in the control plane's folder, and their texts with the run's prefix.
    fn manifests(&self, example: &str) -> Result<Vec<(String, String)>> {
        let folder = folder(example);
        let mut manifests = Vec::new();
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            manifests.push((
                format!("{example}-{name}"),
                text.replace(PREFIX, self.mesh.topology.prefix()),
            ));
        }
        ensure!(!manifests.is_empty(), "{} has no manifest", folder.display());
        Ok(manifests)
    }

    /// How many responses of each kind each node has taken.
    fn responses(&self) -> Result<Vec<[f64; 2]>> {
        let nodes = self.mesh.nodes.iter();
        nodes
            .map(|node| {
                let metrics = node.metrics()?;
                Ok(["routes", "service"]
                    .map(|kind| metrics.sum("mesh_node_control_responses_total", &[("kind", kind)])))
            })
            .collect()
    }

    fn wait_told(&self, kinds: &[&str], before: &[[f64; 2]]) -> Result<()> {
        until("both nodes to be told", IN_FORCE, || {
            let now = self.responses()?;
            let is_told = |kind: &&str| {
                let place = usize::from(*kind == "service");
                now.iter()
                    .zip(before)
                    .all(|(now, before)| now[place] > before[place])
            };
            Ok(kinds.iter().all(is_told).then_some(()))
        })
        .with_context(|| {
            self.mesh
                .control
                .admin("/problems")
                .map_or_else(|error| format!("{error:#}"), |problems| format!("{problems:#}"))
        })
    }
}

/// The kind of resource that nodes are told a manifest as: a policy for a Service is a part of the Service.
fn told_as(manifest: &str) -> &'static str {
    if manifest.contains("kind: TrafficPolicy") {
        "service"
    } else {
        "routes"
    }
}

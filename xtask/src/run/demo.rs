//! The demo's mesh: the manifests of examples/demo, and mesh-echo as every workload.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use mesh_harness::{Mesh, Process, Workload};

use crate::workspace;

/// Where the manifests are, below the workspace's root.
pub(super) const MANIFESTS: &str = "examples/demo";
/// Stands in the manifests for the run's prefix.
const PREFIX: &str = "${PREFIX}";
/// mesh-echo listens at once.
const LISTENING: Duration = Duration::from_secs(10);

/// A client of the demo and the Service that it calls for as long as the demo runs.
pub(super) struct Call {
    pub(super) client: &'static str,
    pub(super) service: &'static str,
    pub(super) address: &'static str,
    /// How the mesh is to carry it.
    pub(super) transport: &'static str,
    /// One connection for all rounds, instead of one each.
    keep_alive: bool,
}

/// Everybody who calls: between nodes, within each, out of a pod and out of a node's own network.
pub(super) const CALLS: [Call; 5] = [
    call("shop/frontend", "shop/catalog", "10.96.0.1:80", "hbone", true),
    call("shop/frontend", "shop/cart", "10.96.0.2:80", "local", true),
    call("shop/cart", "bank/ledger", "[fd00:96::3]:80", "hbone", true),
    call("bank/ledger", "shop/catalog", "10.96.0.1:80", "local", true),
    call("bank/ledger", "shop/cart", "10.96.0.2:80", "hbone", false),
];

/// A running demo. Fields are dropped in this order: the clients first.
pub(super) struct Demo {
    pub(super) callers: Vec<Process>,
    servers: Vec<Process>,
    pub(super) workloads: Vec<(&'static str, &'static str, Workload)>,
    pub(super) mesh: Mesh,
}

const fn call(
    client: &'static str,
    service: &'static str,
    address: &'static str,
    transport: &'static str,
    keep_alive: bool,
) -> Call {
    Call {
        client,
        service,
        address,
        transport,
        keep_alive,
    }
}

impl Demo {
    /// Brings everything up, and waits until every workload is in the mesh.
    pub(super) fn start() -> Result<Self> {
        let mut mesh = Mesh::builder().node("node-a").node("node-b").prepare()?;
        // The addresses in the manifests follow from this order.
        let workloads = vec![
            ("shop/frontend", "node-a", mesh.add_pod("node-a", "frontend")?),
            ("shop/cart", "node-a", mesh.add_pod("node-a", "cart")?),
            ("shop/catalog", "node-b", mesh.add_pod("node-b", "catalog")?),
            (
                "bank/ledger",
                "node-b",
                mesh.add_host_workload("node-b", "ledger")?,
            ),
        ];
        write_manifests(&mesh)?;
        mesh.start_nodes()?;
        for (name, node, _) in &workloads {
            mesh.node(node)?.wait_captured(name)?;
        }
        for node in &mesh.nodes {
            for service in ["shop/catalog", "shop/cart", "bank/ledger"] {
                node.wait_service(service, 1)?;
            }
        }
        let mut demo = Self {
            callers: Vec::new(),
            servers: Vec::new(),
            workloads,
            mesh,
        };
        for (name, port) in [("shop/cart", 7000), ("shop/catalog", 7000), ("bank/ledger", 7100)] {
            let server = demo.serve(name, port)?;
            demo.servers.push(server);
        }
        for call in &CALLS {
            let caller = demo.call(call)?;
            demo.callers.push(caller);
        }
        Ok(demo)
    }

    /// A workload by `namespace/name`.
    pub(super) fn workload(&self, name: &str) -> Result<&Workload> {
        let found = self.workloads.iter().find(|(known, ..)| *known == name);
        found
            .map(|(.., workload)| workload)
            .with_context(|| format!("the demo has no workload {name}"))
    }

    fn serve(&self, name: &str, port: u16) -> Result<Process> {
        let workload = self.workload(name)?;
        let program = workload.place.our_program("mesh-echo")?;
        let process = program
            .args(["serve", "--listen", &format!("[::]:{port}"), "--name", name])
            .spawn()?;
        workload.place.wait_listening(port, LISTENING)?;
        Ok(process)
    }

    fn call(&self, call: &Call) -> Result<Process> {
        let place = &self.workload(call.client)?.place;
        // A log of its own for each caller of a workload.
        let name = format!("call-{}", call.service.replace('/', "-"));
        let program = place.program_at(&name, &mesh_harness::binaries::ours("mesh-echo")?);
        let program = program.args([
            "call",
            call.address,
            "--forever",
            "--interval",
            "100ms",
            "--size",
            "4096",
        ]);
        let program = if call.keep_alive {
            program.arg("--keep-alive")
        } else {
            program
        };
        program.spawn()
    }
}

/// Copies the manifests to where the control plane reads them, with the run's prefix.
fn write_manifests(mesh: &Mesh) -> Result<()> {
    let folder = workspace::root().join(MANIFESTS);
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        mesh.manifests
            .write(name, &text.replace(PREFIX, mesh.topology.prefix()))?;
    }
    Ok(())
}

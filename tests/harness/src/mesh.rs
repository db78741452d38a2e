//! A whole mesh: a control plane, nodes with their proxies, and the manifests' folder.

use anyhow::{Context, Result};

use crate::control::{Control, ControlSettings};
use crate::manifest::{Manifests, WorkloadManifest};
use crate::node::{NodeProxy, NodeSettings};
use crate::topology::{Topology, Workload};

/// A running mesh. The fields are dropped in this order: proxies, control plane, then what they run in.
#[derive(Debug)]
pub struct Mesh {
    /// The nodes, in the order of the builder's.
    pub nodes: Vec<NodeProxy>,
    /// The control plane.
    pub control: Control,
    /// What it reads.
    pub manifests: Manifests,
    /// What all of it runs in.
    pub topology: Topology,
}

/// What to bring up.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct MeshBuilder {
    nodes: Vec<String>,
    control: ControlSettings,
    node: NodeSettings,
}

impl MeshBuilder {
    /// One more node.
    pub fn node(mut self, name: &str) -> Self {
        self.nodes.push(name.to_owned());
        self
    }

    /// How long a workload's certificate is good for, such as `24h`.
    pub fn certificate_lifetime(mut self, lifetime: &str) -> Self {
        lifetime.clone_into(&mut self.control.certificate_lifetime);
        self
    }

    /// Settings of every node.
    pub fn node_settings(mut self, settings: NodeSettings) -> Self {
        self.node = settings;
        self
    }

    /// Makes the topology and starts the control plane; the nodes are configured and not started.
    pub fn prepare(self) -> Result<Mesh> {
        let mut topology = Topology::new()?;
        let folder = topology.folder().to_owned();
        let manifests = Manifests::new(&folder.join("manifests"))?;
        let host = topology.add_host("control")?;
        let mut control = Control::configure(&host, &folder.join("control"), &manifests, &self.control)?;
        let mut nodes = Vec::new();
        for name in &self.nodes {
            let node = topology.add_node(name)?;
            nodes.push(NodeProxy::configure(
                &node,
                &folder,
                &topology.pins(name),
                &control,
                &self.node,
            )?);
        }
        // After the tokens were made: it looks for new ones every few seconds only.
        control.start()?;
        Ok(Mesh {
            nodes,
            control,
            manifests,
            topology,
        })
    }

    /// Makes the topology and starts everything; waits until all are ready.
    pub fn start(self) -> Result<Mesh> {
        let mut mesh = self.prepare()?;
        mesh.start_nodes()?;
        Ok(mesh)
    }
}

impl Mesh {
    /// Starts with no nodes and default settings.
    pub fn builder() -> MeshBuilder {
        MeshBuilder::default()
    }

    /// Starts the nodes that do not run, all at once, and waits until they are ready.
    pub fn start_nodes(&mut self) -> Result<()> {
        for node in self.nodes.iter_mut().filter(|node| !node.is_started()) {
            node.launch()?;
        }
        self.nodes.iter_mut().try_for_each(NodeProxy::wait_ready)
    }

    /// A node by its name.
    pub fn node(&self, name: &str) -> Result<&NodeProxy> {
        self.nodes
            .iter()
            .find(|node| node.node.name == name)
            .with_context(|| format!("there is no node {name}"))
    }

    /// A node by its name.
    pub fn node_mut(&mut self, name: &str) -> Result<&mut NodeProxy> {
        let found = self.nodes.iter_mut().find(|node| node.node.name == name);
        found.with_context(|| format!("there is no node {name}"))
    }

    /// Adds a pod to a node of the topology; the mesh is not told.
    pub fn add_pod(&mut self, node: &str, name: &str) -> Result<Workload> {
        let node = self.node(node)?.node.clone();
        self.topology.add_pod(&node, name)
    }

    /// Adds a host-network workload to a node of the topology; the mesh is not told.
    pub fn add_host_workload(&mut self, node: &str, name: &str) -> Result<Workload> {
        let node = self.node(node)?.node.clone();
        self.topology.add_host_workload(&node, name)
    }

    /// Writes a workload's manifest, changed as `change` says, and waits until it is captured.
    pub fn enrol(
        &self,
        namespace: &str,
        node: &str,
        workload: &Workload,
        change: impl FnOnce(WorkloadManifest) -> WorkloadManifest,
    ) -> Result<()> {
        self.manifests
            .workload(&change(WorkloadManifest::new(namespace, node, workload)))?;
        self.node(node)?
            .wait_captured(&format!("{namespace}/{}", workload.name))
            .with_context(|| self.logs())
    }

    /// The last lines of every process' log, for a failure's report.
    pub fn logs(&self) -> String {
        let control = (
            "mesh-control".to_owned(),
            crate::process::tail(&self.control.log(), 40),
        );
        let nodes = self
            .nodes
            .iter()
            .map(|node| (format!("mesh-node of {}", node.node.name), node.log_tail()));
        std::iter::once(control)
            .chain(nodes)
            .map(|(who, log)| format!("--- {who}\n{log}\n"))
            .collect::<Vec<_>>()
            .concat()
    }
}

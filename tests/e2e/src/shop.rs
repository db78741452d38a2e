//! The workloads that most tests need.
//!
//! ```text
//!  node-a: client, neighbour (nginx)  shop/neighbour 10.96.0.2:80 [fd00:96::2]:80      stranger (not in the mesh)
//!  node-b: web (nginx)                shop/web       10.96.0.1:80 [fd00:96::1]:80
//!  outsider: a machine without a node
//! ```

use std::path::PathBuf;

use anyhow::Result;
use mesh_harness::manifest::ServiceManifest;
use mesh_harness::node::{NodeProxy, NodeSettings};
use mesh_harness::{Mesh, MeshBuilder, Metrics, Process, Workload};

use crate::servers::{self, NGINX_PORT};
use crate::turns::Report;

/// The namespace of all workloads.
pub const NAMESPACE: &str = "shop";
/// The Service `shop/web`, on the other node than the client.
pub const WEB: &str = "10.96.0.1:80";
/// The same over IPv6.
pub const WEB_V6: &str = "[fd00:96::1]:80";
/// The Service `shop/neighbour`, on the client's node.
pub const NEIGHBOUR: &str = "10.96.0.2:80";
/// A port that no node captures.
pub const EXCLUDED_PORT: u16 = 9999;
/// A network that no node captures: no address of the topology is in it but what a test adds.
pub const EXCLUDED_NETWORK: &str = "10.0.7.0/24";

/// The shop.
#[derive(Debug)]
pub struct Shop {
    /// Servers that run for as long as the shop.
    pub servers: Vec<Process>,
    /// The mesh around it.
    pub mesh: Mesh,
    /// A pod on node A that asks.
    pub client: Workload,
    /// A pod on node A with nginx.
    pub neighbour: Workload,
    /// A pod on node B with nginx.
    pub web: Workload,
    /// A pod on node A that the mesh does not know.
    pub stranger: Workload,
    /// A machine that is no node.
    pub outsider: Workload,
}

impl Shop {
    /// With settings that fit most tests.
    pub fn open() -> Result<Self> {
        Self::open_with(Mesh::builder().node_settings(Self::node_settings()))
    }

    /// What nodes of a shop are told.
    pub fn node_settings() -> NodeSettings {
        NodeSettings {
            exclude_ports: vec![EXCLUDED_PORT],
            exclude_cidrs: vec![EXCLUDED_NETWORK.to_owned()],
            // The shop's tests are of the proxy; what goes past it has a suite of its own.
            direct_connections: false,
            ..NodeSettings::default()
        }
    }

    /// With settings of one's own; the nodes are added.
    pub fn open_with(builder: MeshBuilder) -> Result<Self> {
        let mut mesh = builder.node("node-a").node("node-b").prepare()?;
        mesh.manifests.namespace(NAMESPACE, true)?;
        mesh.start_nodes()?;
        let client = mesh.add_pod("node-a", "client")?;
        let neighbour = mesh.add_pod("node-a", "neighbour")?;
        let stranger = mesh.add_pod("node-a", "stranger")?;
        let web = mesh.add_pod("node-b", "web")?;
        let outsider = mesh.topology.add_host("outsider")?;
        let folder = mesh.topology.folder().to_owned();
        let servers = vec![
            servers::nginx(&neighbour, &folder)?,
            servers::nginx(&web, &folder)?,
        ];
        mesh.enrol(NAMESPACE, "node-a", &client, |workload| workload)?;
        mesh.enrol(NAMESPACE, "node-a", &neighbour, |workload| {
            workload.port("http", NGINX_PORT)
        })?;
        mesh.enrol(NAMESPACE, "node-b", &web, |workload| {
            workload.port("http", NGINX_PORT)
        })?;
        for (name, octet) in [("web", 1), ("neighbour", 2)] {
            let service = ServiceManifest::new(NAMESPACE, name).port(80, NGINX_PORT);
            let service = service
                .address(&format!("10.96.0.{octet}"))
                .address(&format!("fd00:96::{octet}"));
            mesh.manifests.service(&service)?;
            for node in &mesh.nodes {
                node.wait_service(&format!("{NAMESPACE}/{name}"), 1)?;
            }
        }
        Ok(Self {
            servers,
            mesh,
            client,
            neighbour,
            web,
            stranger,
            outsider,
        })
    }

    /// The client's node.
    pub fn a(&self) -> &NodeProxy {
        &self.mesh.nodes[0]
    }

    /// The web server's node.
    pub fn b(&self) -> &NodeProxy {
        &self.mesh.nodes[1]
    }

    /// The client's node.
    pub fn a_mut(&mut self) -> &mut NodeProxy {
        &mut self.mesh.nodes[0]
    }

    /// The web server's node.
    pub fn b_mut(&mut self) -> &mut NodeProxy {
        &mut self.mesh.nodes[1]
    }

    /// The temporary folder.
    pub fn folder(&self) -> PathBuf {
        self.mesh.topology.folder().to_owned()
    }

    /// Adds a Service without a selector's match being waited for.
    pub fn add_service(&self, name: &str, octet: u8, port: u16, target: u16) -> Result<()> {
        let service = ServiceManifest::new(NAMESPACE, name).port(port, target);
        let service = service
            .address(&format!("10.96.0.{octet}"))
            .address(&format!("fd00:96::{octet}"));
        self.mesh.manifests.service(&service).map(drop)
    }

    /// Adds a Service, and waits until both nodes know so many endpoints of it.
    pub fn add_service_with(
        &self,
        name: &str,
        octet: u8,
        port: u16,
        target: u16,
        endpoints: usize,
    ) -> Result<()> {
        self.add_service(name, octet, port, target)?;
        self.mesh
            .nodes
            .iter()
            .try_for_each(|node| node.wait_service(&format!("{NAMESPACE}/{name}"), endpoints))
    }
}

/// How many connections a node has opened in a direction, ever.
pub fn opened(node: &NodeProxy, direction: &str) -> f64 {
    node.metrics()
        .map_or(0.0, |metrics| opened_in(&metrics, direction))
}

fn opened_in(metrics: &Metrics, direction: &str) -> f64 {
    metrics.sum("mesh_node_connections_opened_total", &[("direction", direction)])
}

impl Report for Shop {
    fn report(&self) -> String {
        self.mesh.logs()
    }
}

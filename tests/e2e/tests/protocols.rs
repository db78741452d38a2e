//! What connections speak, declared or not: servers that speak first, clients that do, TLS by its server name, shares of
//! connections, and those who say nothing.
//!
//! ```text
//!  node-a: client      stranger (not in the mesh: what a connection costs without it)
//!  node-b: database (MariaDB), mail (SMTP), shell (SSH), store (Redis), books (PostgreSQL), left and right (nginx, TLS),
//!          quiet (whatever a test listens with)
//! ```
//!
//! No Service says what is spoken at its port, unless a test is about that.

#![expect(clippy::unwrap_used, reason = "in a test, a failure's place is what matters")]

#[path = "protocols/bytes.rs"]
mod bytes;
#[path = "protocols/policy.rs"]
mod policy;
#[path = "protocols/routes.rs"]
mod routes;
#[path = "protocols/server_first.rs"]
mod server_first;
#[path = "protocols/silence.rs"]
mod silence;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use mesh_e2e::MOMENT;
use mesh_e2e::hall::NAMESPACE;
use mesh_e2e::routes::Route;
use mesh_e2e::servers::{self, Certificate, POSTGRES_PORT, REDIS_PORT};
use mesh_e2e::speakers::{self, HTTPS_PORT, MARIADB_PORT, NAME_PORT, SMTP_PORT, SSH_PORT};
use mesh_e2e::turns::{Report, Turns};
use mesh_harness::manifest::ServiceManifest;
use mesh_harness::node::NodeProxy;
use mesh_harness::{Mesh, Process, Workload, until};

static WORLD: Turns<World> = Turns::new(World::open);

/// A port of `quiet` that a test listens at.
const QUIET_PORT: u16 = 7000;
/// Servers' pods and their ports.
const SERVERS: [(&str, u16); 7] = [
    ("database", MARIADB_PORT),
    ("mail", SMTP_PORT),
    ("shell", SSH_PORT),
    ("store", REDIS_PORT),
    ("books", POSTGRES_PORT),
    ("left", HTTPS_PORT),
    ("right", HTTPS_PORT),
];

/// The world of this suite.
#[derive(Debug)]
pub struct World {
    mesh: Mesh,
    client: Workload,
    stranger: Workload,
    quiet: Workload,
    pods: BTreeMap<&'static str, Workload>,
    servers: BTreeMap<&'static str, Process>,
    /// The key that `shell` lets in.
    ssh_key: PathBuf,
    services: u8,
}

impl World {
    fn open() -> Result<Self> {
        let mut mesh = Mesh::builder().node("node-a").node("node-b").prepare()?;
        mesh.manifests.namespace(NAMESPACE, true)?;
        mesh.start_nodes()?;
        let client = mesh.add_pod("node-a", "client")?;
        let stranger = mesh.add_pod("node-a", "stranger")?;
        let quiet = mesh.add_pod("node-b", "quiet")?;
        mesh.enrol(NAMESPACE, "node-a", &client, |workload| workload)?;
        mesh.enrol(NAMESPACE, "node-b", &quiet, |workload| {
            workload.port("quiet", QUIET_PORT).label("part", "mixed")
        })?;
        let mut pods = BTreeMap::new();
        for (name, port) in SERVERS {
            let pod = mesh.add_pod("node-b", name)?;
            mesh.enrol(NAMESPACE, "node-b", &pod, |workload| {
                let part = if name == "left" { "mixed" } else { "alone" };
                let workload = workload.port("main", port).label("part", part);
                if port == HTTPS_PORT {
                    workload.port("name", NAME_PORT)
                } else {
                    workload
                }
            })?;
            pods.insert(name, pod);
        }
        let folder = mesh.topology.folder().to_owned();
        let tls = Certificate::new(&["shop.test", "a.shop.test", "b.shop.test", "books.test"])?;
        let (shell, ssh_key) = speakers::ssh(&pods["shell"], &folder)?;
        let servers = BTreeMap::from([
            ("database", speakers::mariadb(&pods["database"], &folder)?),
            ("mail", speakers::smtp(&pods["mail"])?),
            ("shell", shell),
            ("store", servers::redis(&pods["store"], &folder)?),
            (
                "books",
                servers::postgres_with(&pods["books"], &folder, Some(&tls))?,
            ),
            ("left", speakers::https(&pods["left"], &folder, &tls)?),
            ("right", speakers::https(&pods["right"], &folder, &tls)?),
        ]);
        let mut world = Self {
            mesh,
            client,
            stranger,
            quiet,
            pods,
            servers,
            ssh_key,
            services: 0,
        };
        for (name, port) in SERVERS {
            world.service(name, name, port, port, None)?;
        }
        Ok(world)
    }

    /// Adds a Service with one port in front of a pod.
    fn service(
        &mut self,
        name: &str,
        pod: &str,
        port: u16,
        target: u16,
        protocol: Option<&str>,
    ) -> Result<SocketAddr> {
        let manifest = ServiceManifest::new(NAMESPACE, name).selects(pod);
        self.add(name, manifest.named_port("main", port, target, protocol), port, 1)
    }

    /// Adds a Service, and waits until both nodes know so many workloads behind it.
    fn add(
        &mut self,
        name: &str,
        manifest: ServiceManifest,
        port: u16,
        workloads: usize,
    ) -> Result<SocketAddr> {
        self.services = self.services.checked_add(1).context("too many Services")?;
        let address = format!("10.96.2.{}", self.services);
        self.mesh.manifests.service(&manifest.address(&address))?;
        for node in &self.mesh.nodes {
            node.wait_service(&format!("{NAMESPACE}/{name}"), workloads)?;
        }
        Ok(SocketAddr::new(address.parse()?, port))
    }

    /// Writes a route and waits until the client's node has it.
    fn route(&self, service: &str, route: &Route) -> Result<()> {
        let file = format!("{}.yaml", route.file());
        self.mesh.manifests.write(&file, &route.yaml())?;
        let service = format!("{NAMESPACE}/{service}");
        let what = format!("node-a to have a route for {service}");
        until(&what, MOMENT, || {
            let routes = self.a().admin("/routes")?;
            let all = routes.as_array().map_or(&[][..], Vec::as_slice);
            let found = all.iter().any(|one| one["service"] == service.as_str());
            Ok(found.then_some(()))
        })
        .with_context(|| format!("{}\n{:#?}", route.yaml(), self.mesh.control.admin("/problems")))
    }

    /// The client's node.
    fn a(&self) -> &NodeProxy {
        &self.mesh.nodes[0]
    }

    /// How many connections of the client's were told to be this at undeclared ports, so far.
    fn told(&self, outcome: &str) -> f64 {
        self.told_at("undeclared", outcome)
    }

    fn told_at(&self, declared: &str, outcome: &str) -> f64 {
        let labels = [("declared", declared), ("outcome", outcome)];
        let name = "mesh_node_protocol_detections_total";
        self.a().metrics().unwrap().sum(name, &labels)
    }
}

/// The address of a Service that was there from the start.
fn at(name: &str) -> SocketAddr {
    let place = SERVERS.iter().position(|(server, _)| *server == name).unwrap();
    let octet = u8::try_from(place + 1).unwrap();
    SocketAddr::from(([10, 96, 2, octet], SERVERS[place].1))
}

impl Report for World {
    fn report(&self) -> String {
        self.mesh.logs()
    }
}

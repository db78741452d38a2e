//! Everything that is measured, on two nodes of one kernel.
//!
//! ```text
//!  node-a: client, near             agents    in the mesh         node-b: far, second              agents
//!          plain-client, plain-near           not in the mesh             plain-far, plain-second
//!          Envoy                                                          Envoy
//! ```
//!
//! The mesh's workloads and those of the other peers are pods of their own: no kernel program of the mesh is on a socket
//! of the others. All of it runs for as long as the bench; who is not asked does next to nothing.

use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use mesh_harness::node::NodeSettings;
use mesh_harness::{Mesh, Process, Workload};

use crate::envoy::{Pair, Servers};
use crate::identity;
use crate::load::Credentials;
use crate::manifests::{self, Pods};
use crate::plan::{Distance, Named as _, Peer, Plan};
use crate::profile::Watched;
use crate::servers::{self, Way};
use crate::swap::Swap;

/// Ports that a client may choose of: new connections use up the usual 28,000 within seconds.
const PORT_RANGE: &str = "10240 65000";
/// Where mesh-node takes tunnels (HBONE).
const TUNNEL_PORT: u16 = 15008;

/// What the mesh is told beside the Services that most cases want. Told to all, it would be in everybody's memory.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extras {
    /// A Service with a thousand rules.
    pub many: bool,
    /// A Service with an endpoint that comes and goes.
    pub churn: bool,
}

/// All of it.
#[derive(Debug)]
pub struct Stage {
    /// Servers that run for as long as the stage.
    pub servers: Vec<Process>,
    /// The other peer, where it is measured.
    pub envoy: Option<Pair>,
    /// The mesh.
    pub mesh: Mesh,
    /// Lets an endpoint of the mesh come and go, where that is wanted.
    pub swap: Option<Swap>,
    client: Workload,
    far: Workload,
    plain_client: Workload,
    plain_near: Workload,
    plain_far: Workload,
}

// === impl Stage ===

impl Stage {
    /// Brings everything up and waits until it serves.
    pub fn open(plan: &Plan, extras: Extras) -> Result<Self> {
        let settings = NodeSettings {
            request_log: "all".to_owned(),
            ..NodeSettings::default()
        };
        let builder = Mesh::builder().node("node-a").node("node-b");
        let mut mesh = builder.node_settings(settings).prepare()?;
        mesh.manifests.namespace(manifests::NAMESPACE, true)?;
        mesh.start_nodes()?;
        let [client, near, plain_client, plain_near] =
            ["client", "near", "plain-client", "plain-near"].map(|name| mesh.add_pod("node-a", name));
        let (client, near, plain_client, plain_near) = (client?, near?, plain_client?, plain_near?);
        let [far, second, plain_far, plain_second] =
            ["far", "second", "plain-far", "plain-second"].map(|name| mesh.add_pod("node-b", name));
        let (far, second, plain_far, plain_second) = (far?, second?, plain_far?, plain_second?);
        let folder = mesh.topology.folder().to_owned();
        let mut servers = Vec::new();
        for pod in [&near, &far, &second, &plain_near, &plain_far, &plain_second] {
            servers.extend(servers::start(pod, &folder)?);
        }
        for pod in [&client, &plain_client] {
            let netns = pod.place.netns();
            netns.set_parameter("ipv4/ip_local_port_range", PORT_RANGE)?;
            netns.set_parameter("ipv4/tcp_tw_reuse", "1")?;
        }
        let pods = Pods {
            client: &client,
            near: &near,
            far: &far,
        };
        manifests::enrol(&mut mesh, pods)?;
        if extras.many {
            manifests::add_many(&mesh)?;
        }
        let churned = extras.churn.then(|| manifests::add_churn(&mesh, &second));
        let swap = churned.transpose()?;
        let behind = Servers {
            near: plain_near.v4(),
            far: plain_far.v4(),
            second: plain_second.v4(),
        };
        let nodes = [&mesh.nodes[0].node, &mesh.nodes[1].node];
        let envoy = plan
            .has(Peer::Envoy)
            .then(|| Pair::start(&plan.envoy, nodes, behind, &folder));
        Ok(Self {
            servers,
            envoy: envoy.transpose()?,
            mesh,
            swap,
            client,
            far,
            plain_client,
            plain_near,
            plain_far,
        })
    }

    /// The pod that a peer's load comes from.
    pub fn client(&self, peer: Peer) -> &Workload {
        match peer {
            Peer::Nodemesh => &self.client,
            Peer::Direct | Peer::Envoy => &self.plain_client,
        }
    }

    /// A client that the mesh does not know.
    pub fn stranger(&self) -> &Workload {
        &self.plain_client
    }

    /// Where a peer's load goes.
    pub fn target(&self, peer: Peer, distance: Distance, way: Way) -> Result<SocketAddr> {
        Ok(match (peer, distance) {
            (Peer::Direct, Distance::SameNode) => SocketAddr::new(self.plain_near.v4(), way.server_port()),
            (Peer::Direct, Distance::BetweenNodes) => SocketAddr::new(self.plain_far.v4(), way.server_port()),
            (Peer::Nodemesh, _) => manifests::address(distance, way),
            (Peer::Envoy, Distance::SameNode) => self.envoy()?.near(way),
            (Peer::Envoy, Distance::BetweenNodes) => self.envoy()?.far(way),
        })
    }

    /// Where a peer's second proxy takes TLS, and what a client shows to it.
    pub fn entrance(&self, peer: Peer) -> Result<(SocketAddr, Credentials)> {
        match peer {
            Peer::Direct => anyhow::bail!("a direct connection has no TLS"),
            Peer::Nodemesh => {
                let identity = format!("spiffe://cluster.local/ns/{}/sa/client", manifests::NAMESPACE);
                let credentials = identity::issue(&self.mesh.control, &self.folder()?, &identity)?;
                Ok((SocketAddr::new(self.far.v4(), TUNNEL_PORT), credentials))
            }
            Peer::Envoy => {
                let pair = self.envoy()?;
                Ok((pair.entrance, pair.credentials.clone()))
            }
        }
    }

    /// What lets one of a peer's endpoints come and go.
    pub fn swap(&self, peer: Peer) -> Result<Swap> {
        match peer {
            Peer::Direct => anyhow::bail!("a direct connection has no endpoints"),
            Peer::Nodemesh => self
                .swap
                .clone()
                .context("the stage has no endpoint that comes and goes"),
            Peer::Envoy => Ok(self.envoy()?.swap.clone()),
        }
    }

    fn envoy(&self) -> Result<&Pair> {
        self.envoy
            .as_ref()
            .context("Envoy does not run: name it among --peers")
    }

    /// The cgroups of a peer's proxies, the client's node first.
    pub fn proxies(&self, peer: Peer) -> Result<Vec<PathBuf>> {
        Ok(match peer {
            Peer::Direct => Vec::new(),
            Peer::Nodemesh => {
                let nodes = self.mesh.nodes.iter();
                nodes.map(|node| node.node.proxy.cgroup().to_owned()).collect()
            }
            Peer::Envoy => {
                let envoys = self.envoy()?.all();
                envoys.map(|envoy| envoy.cgroup().to_owned()).to_vec()
            }
        })
    }

    /// The processes of a peer's proxies, as a profile names them; the client's node first.
    pub fn processes(&mut self, peer: Peer) -> Result<Vec<Watched>> {
        let name = |node: &str| format!("{}.{node}", peer.name());
        match peer {
            Peer::Direct => Ok(Vec::new()),
            Peer::Nodemesh => {
                let watched = self.mesh.nodes.iter_mut().map(|node| {
                    Ok(Watched {
                        name: name(&node.node.name),
                        process: node.process()?.id(),
                    })
                });
                watched.collect()
            }
            Peer::Envoy => {
                let nodes = self.mesh.nodes.iter().map(|node| node.node.name.as_str());
                let watched = nodes.zip(self.envoy()?.all()).map(|(node, envoy)| Watched {
                    name: name(node),
                    process: envoy.process().id(),
                });
                Ok(watched.collect())
            }
        }
    }

    /// Empties the proxies' logs, which would fill the disk: they are opened to append, so they go on from 0.
    pub fn empty_logs(&mut self) -> Result<()> {
        let mut logs: Vec<PathBuf> = Vec::new();
        for node in &mut self.mesh.nodes {
            logs.push(node.process()?.log_file().to_owned());
        }
        if let Some(pair) = &self.envoy {
            logs.extend(pair.all().map(|envoy| envoy.access_log().to_owned()));
        }
        logs.iter().filter(|log| log.exists()).try_for_each(|log| {
            let file = OpenOptions::new().write(true).open(log);
            let emptied = file.and_then(|file| file.set_len(0));
            emptied.with_context(|| format!("empty {}", log.display()))
        })
    }

    /// A folder for files of load programs.
    pub fn folder(&self) -> Result<PathBuf> {
        let folder = self.mesh.topology.folder().join("load");
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(folder)
    }

    /// What the proxies' last lines complain of, for a failure's report.
    pub fn complaints(&self) -> String {
        let mut text = self.mesh.logs();
        for envoy in self.envoy.iter().flat_map(Pair::all) {
            text.push_str("--- Envoy\n");
            text.push_str(&envoy.process().log_tail());
            text.push('\n');
        }
        let lines = text.lines().filter(|line| !line.contains(" INFO "));
        lines.collect::<Vec<_>>().join("\n")
    }
}

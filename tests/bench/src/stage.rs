//! Everything that is measured, on two nodes of one kernel.
//!
//! ```text
//!  node-a: client, near (nginx)        agents      in the mesh         node-b: far (nginx)      agents
//!          plain-client, plain-near                not in the mesh             plain-far
//!          Envoy                                                               Envoy
//! ```
//!
//! The mesh's workloads and those of the other peers are pods of their own: no kernel program of the mesh is on a socket
//! of the others. All of it runs for as long as the bench; who is not asked does next to nothing.

mod manifests;

use std::fs::{self, OpenOptions};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use mesh_harness::node::NodeSettings;
use mesh_harness::{Mesh, Process, Workload};

use crate::envoy::{Pair, Servers, Way};
use crate::meter::Reading;
use crate::plan::{Distance, Named as _, Peer, Plan, Protocol};
use crate::profile::Watched;
use crate::servers::{self, HTTP1_PORT, HTTP2_PORT};

/// Ports that a client may choose of: new connections use up the usual 28,000 within seconds.
const PORT_RANGE: &str = "10240 65000";

/// All of it.
#[derive(Debug)]
pub struct Stage {
    /// Servers that run for as long as the stage.
    pub servers: Vec<Process>,
    /// The other peer, where it is measured.
    pub envoy: Option<Pair>,
    /// The mesh.
    pub mesh: Mesh,
    client: Workload,
    plain_client: Workload,
    plain_near: Workload,
    plain_far: Workload,
}

// === impl Stage ===

impl Stage {
    /// Brings everything up and waits until it serves.
    pub fn open(plan: &Plan) -> Result<Self> {
        let settings = NodeSettings {
            request_log: "all".to_owned(),
            ..NodeSettings::default()
        };
        let builder = Mesh::builder().node("node-a").node("node-b");
        let mut mesh = builder.node_settings(settings).prepare()?;
        mesh.manifests.namespace(manifests::NAMESPACE, true)?;
        mesh.start_nodes()?;
        let client = mesh.add_pod("node-a", "client")?;
        let near = mesh.add_pod("node-a", "near")?;
        let far = mesh.add_pod("node-b", "far")?;
        let plain_client = mesh.add_pod("node-a", "plain-client")?;
        let plain_near = mesh.add_pod("node-a", "plain-near")?;
        let plain_far = mesh.add_pod("node-b", "plain-far")?;
        let folder = mesh.topology.folder().to_owned();
        let mut servers = Vec::new();
        for pod in [&near, &far, &plain_near, &plain_far] {
            servers.push(servers::nginx(pod, &folder)?);
        }
        for pod in [&client, &plain_client] {
            pod.place
                .netns()
                .set_parameter("ipv4/ip_local_port_range", PORT_RANGE)?;
        }
        manifests::enrol(&mut mesh, &client, &near, &far)?;
        let envoy = if plan.has(Peer::Envoy) {
            let nodes = [&mesh.nodes[0].node, &mesh.nodes[1].node];
            let servers = Servers {
                near: plain_near.v4(),
                far: plain_far.v4(),
            };
            Some(Pair::start(&plan.envoy, nodes, servers, &folder)?)
        } else {
            None
        };
        Ok(Self {
            servers,
            envoy,
            mesh,
            client,
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

    /// Where a peer's load of requests goes.
    pub fn target(&self, peer: Peer, distance: Distance, protocol: Protocol) -> Result<SocketAddr> {
        Ok(match peer {
            Peer::Direct => self.direct(distance, protocol),
            Peer::Nodemesh => SocketAddr::new(manifests::address(distance), manifests::port(protocol)),
            Peer::Envoy => {
                let envoy = self.envoy()?;
                let way = match protocol {
                    Protocol::L4 => Way::Bytes,
                    Protocol::Http1 => Way::Http1,
                    Protocol::Http2 | Protocol::Grpc => Way::Http2,
                };
                match distance {
                    Distance::SameNode => envoy.near(way),
                    Distance::BetweenNodes => envoy.far(way),
                }
            }
        })
    }

    fn direct(&self, distance: Distance, protocol: Protocol) -> SocketAddr {
        let port = match protocol {
            Protocol::L4 | Protocol::Http1 => HTTP1_PORT,
            Protocol::Http2 | Protocol::Grpc => HTTP2_PORT,
        };
        SocketAddr::new(self.server(distance), port)
    }

    fn server(&self, distance: Distance) -> IpAddr {
        match distance {
            Distance::SameNode => self.plain_near.v4(),
            Distance::BetweenNodes => self.plain_far.v4(),
        }
    }

    /// The pair of Envoys.
    pub fn envoy(&self) -> Result<&Pair> {
        self.envoy
            .as_ref()
            .context("Envoy does not run: name it among --peers")
    }

    /// The cgroups of a peer's proxies.
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

    /// The processes of a peer's proxies, as a profile names them.
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

    /// Both clocks, with a peer's proxies.
    pub fn read_clocks(&self, proxies: &[PathBuf]) -> Result<Reading> {
        Reading::now(proxies)
    }

    /// A folder for files of load programs.
    pub fn folder(&self) -> Result<PathBuf> {
        let folder = self.mesh.topology.folder().join("load");
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(folder)
    }

    /// The last lines of every proxy's log, for a failure's report.
    pub fn logs(&self) -> String {
        let mut text = self.mesh.logs();
        for envoy in self.envoy.iter().flat_map(Pair::all) {
            text.push_str("--- Envoy\n");
            text.push_str(&envoy.process().log_tail());
        }
        text
    }

    /// A path in the stage's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(self.mesh.topology.folder()).join(name)
    }
}

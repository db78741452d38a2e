//! Envoy in each node's place: the peer that the mesh is measured against.
//!
//! ```text
//!  client ── HTTP ──► Envoy of node A ── HTTP/2 over mutual TLS ──► Envoy of node B ──► server
//!                     the routing rule, access log, statistics      client certificate required
//! ```
//!
//! The client is given Envoy's own address: Envoy is spared what brings a connection to it (iptables in most meshes), and
//! the mesh is measured with its capture.

mod certificates;
mod configuration;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use mesh_harness::{Node, Place, Process, until};

use certificates::Certificates;
use configuration::{Backend, Hop, Rules};

use crate::load::{CALL, Credentials};
use crate::manifests;
use crate::servers::Way;
use crate::swap::Swap;

/// As many threads as mesh-node has for connections on this machine, four at most.
const MAX_WORKERS: usize = 4;
/// Envoy reads a thousand routes in much less; loaded machines get the rest.
const START: Duration = Duration::from_secs(30);
/// The first Envoy's port for a way to the other node.
const FAR: u16 = 9000;
/// The first Envoy's port for a way to the same node.
const NEAR: u16 = 9100;
/// The second Envoy's port for a way.
const ENTRANCE: u16 = 9400;

/// Both of them.
#[derive(Debug)]
pub struct Pair {
    /// On the client's node.
    pub a: Envoy,
    /// On the other node.
    pub b: Envoy,
    /// What a client shows to the second.
    pub credentials: Credentials,
    /// Where the second takes TLS.
    pub entrance: SocketAddr,
    /// Lets an endpoint come and go.
    pub swap: Swap,
}

/// One Envoy.
#[derive(Debug)]
pub struct Envoy {
    process: Process,
    place: Place,
    address: IpAddr,
    access_log: PathBuf,
}

/// Where the servers behind the Envoys are.
#[derive(Debug, Clone, Copy)]
pub struct Servers {
    /// On the client's node.
    pub near: IpAddr,
    /// On the other node.
    pub far: IpAddr,
    /// The one on the other node that comes and goes.
    pub second: IpAddr,
}

/// The ports' distance from the first of each kind.
fn offset(way: Way) -> u16 {
    match way {
        Way::Http1 => 80,
        Way::Http2 => 81,
        Way::Grpc => 82,
        Way::Many => 83,
        Way::Churn => 84,
        Way::Bytes => 90,
        Way::Bulk => 91,
    }
}

fn name(start: &str, way: Way) -> String {
    format!("{start}-{}", format!("{way:?}").to_lowercase())
}

fn rules(way: Way) -> Option<Rules> {
    match way {
        Way::Bytes | Way::Bulk => None,
        Way::Http1 | Way::Http2 | Way::Churn => Some(Rules::one(manifests::PREFIX)),
        Way::Grpc => Some(Rules::one(CALL)),
        Way::Many => Some(Rules::of(&manifests::many_prefixes())),
    }
}

// === impl Pair ===

impl Pair {
    /// Starts both and waits until they serve.
    pub fn start(program: &Path, nodes: [&Node; 2], servers: Servers, folder: &Path) -> Result<Self> {
        let home = folder.join("envoy");
        fs::create_dir_all(&home).with_context(|| format!("make {}", home.display()))?;
        let certificates = Certificates::create(&home)?;
        let [a, b] = nodes;
        let entrance = |way: Way| SocketAddr::new(b.addresses[0], ENTRANCE + offset(way));
        let endpoints = home.join("endpoints.json");
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for way in Way::ALL {
            first.push(far(way, &entrance, &endpoints));
            first.push(near(way, servers.near));
            second.push(inner(way, servers));
        }
        let churn = first.iter().find(|hop| hop.name == name("far", Way::Churn));
        let churn = churn.context("no way to endpoints that come and go")?;
        let texts = [2, 1].map(|count| configuration::endpoints(churn, count).to_string());
        fs::write(&endpoints, &texts[0]).with_context(|| format!("write {}", endpoints.display()))?;
        Ok(Self {
            a: Envoy::start(program, a, &first, &certificates, &home)?,
            b: Envoy::start(program, b, &second, &certificates, &home)?,
            credentials: certificates.credentials(),
            entrance: entrance(Way::Http1),
            swap: Swap {
                file: endpoints,
                texts,
            },
        })
    }

    /// Where a client connects to, for a server on the other node.
    pub fn far(&self, way: Way) -> SocketAddr {
        SocketAddr::new(self.a.address, FAR + offset(way))
    }

    /// Where a client connects to, for a server on its own node.
    pub fn near(&self, way: Way) -> SocketAddr {
        SocketAddr::new(self.a.address, NEAR + offset(way))
    }

    /// Both.
    pub fn all(&self) -> [&Envoy; 2] {
        [&self.a, &self.b]
    }
}

/// What is HTTP travels as HTTP/2 between the Envoys, whatever the client speaks.
fn far(way: Way, entrance: &impl Fn(Way) -> SocketAddr, discovered: &Path) -> Hop {
    let endpoints = match way {
        Way::Many => vec![entrance(Way::Http1)],
        Way::Churn => vec![entrance(Way::Http1), entrance(Way::Churn)],
        other => vec![entrance(other)],
    };
    Hop {
        name: name("far", way),
        port: FAR + offset(way),
        secured: false,
        http: rules(way),
        backend: Backend {
            endpoints,
            discovered: (way == Way::Churn).then(|| discovered.to_owned()),
            secured: true,
            http2: way.is_http(),
        },
    }
}

fn near(way: Way, server: IpAddr) -> Hop {
    Hop {
        name: name("near", way),
        port: NEAR + offset(way),
        secured: false,
        http: rules(way),
        backend: Backend {
            endpoints: vec![SocketAddr::new(server, way.server_port())],
            discovered: None,
            secured: false,
            http2: way.is_http2(),
        },
    }
}

/// The second Envoy's; each way of the churn leads to a server of its own.
fn inner(way: Way, servers: Servers) -> Hop {
    let server = match way {
        Way::Churn => servers.second,
        _ => servers.far,
    };
    Hop {
        name: name("in", way),
        port: ENTRANCE + offset(way),
        secured: true,
        http: way.is_http().then(|| Rules::one("/")),
        backend: Backend {
            endpoints: vec![SocketAddr::new(server, way.server_port())],
            discovered: None,
            secured: false,
            http2: way.is_http2(),
        },
    }
}

// === impl Envoy ===

impl Envoy {
    fn start(
        program: &Path,
        node: &Node,
        hops: &[Hop],
        certificates: &Certificates,
        home: &Path,
    ) -> Result<Self> {
        let cgroup = node.proxy.cgroup().with_file_name("envoy");
        let place = node.proxy.with_cgroup(&format!("{}-envoy", node.name), &cgroup)?;
        let access_log = home.join(format!("{}-access.log", node.name));
        let text = configuration::write(hops, certificates, &access_log);
        let file = home.join(format!("{}.json", node.name));
        fs::write(&file, text.to_string()).with_context(|| format!("write {}", file.display()))?;
        let workers = std::thread::available_parallelism()?.get().min(MAX_WORKERS);
        let process = place
            .program_at("envoy", program)
            .arg("-c")
            .arg(&file)
            .args(["--concurrency", &workers.to_string()])
            .args(["--disable-hot-restart", "--log-level", "warning"])
            .spawn()?;
        let mut envoy = Self {
            process,
            place,
            address: node.addresses[0],
            access_log,
        };
        envoy.wait_ready(hops)?;
        Ok(envoy)
    }

    fn wait_ready(&mut self, hops: &[Hop]) -> Result<()> {
        for hop in hops {
            let what = format!("Envoy to listen at {}", hop.port);
            let (process, place) = (&mut self.process, &self.place);
            until(&what, START, || {
                anyhow::ensure!(process.is_running(), "it ended");
                Ok(place
                    .wait_listening(hop.port, Duration::ZERO)
                    .is_ok()
                    .then_some(()))
            })
            .with_context(|| format!("the last of its log:\n{}", self.process.log_tail()))?;
        }
        Ok(())
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its cgroup.
    pub fn cgroup(&self) -> &Path {
        self.place.cgroup()
    }

    /// Where it writes requests; it may be emptied at any time.
    pub fn access_log(&self) -> &Path {
        &self.access_log
    }
}

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

use crate::servers::{HTTP1_PORT, HTTP2_PORT};

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

/// A way through the Envoys, by what is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// HTTP/1.1, one routing rule.
    Http1,
    /// HTTP/2, one routing rule.
    Http2,
    /// Bytes, to the server of HTTP/1.1.
    Bytes,
}

/// Both of them.
#[derive(Debug)]
pub struct Pair {
    /// On the client's node.
    pub a: Envoy,
    /// On the other node.
    pub b: Envoy,
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
}

// === impl Way ===

impl Way {
    const ALL: [Self; 3] = [Self::Http1, Self::Http2, Self::Bytes];

    fn offset(self) -> u16 {
        match self {
            Self::Http1 => 80,
            Self::Http2 => 81,
            Self::Bytes => 90,
        }
    }

    fn server_port(self) -> u16 {
        match self {
            Self::Http1 | Self::Bytes => HTTP1_PORT,
            Self::Http2 => HTTP2_PORT,
        }
    }

    fn is_http2(self) -> bool {
        self == Self::Http2
    }

    fn is_http(self) -> bool {
        self != Self::Bytes
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
        let mut entrance = Vec::new();
        let mut exit = Vec::new();
        for way in Way::ALL {
            let name = format!("{way:?}").to_lowercase();
            let http = way.is_http().then(|| Rules::one("/files"));
            // What is HTTP travels as HTTP/2 between the Envoys, whatever the client speaks.
            entrance.push(Hop {
                name: format!("far-{name}"),
                port: FAR + way.offset(),
                secured: false,
                http: http.clone(),
                backend: Backend {
                    address: SocketAddr::new(b.addresses[0], ENTRANCE + way.offset()),
                    secured: true,
                    http2: way.is_http(),
                },
            });
            entrance.push(Hop {
                name: format!("near-{name}"),
                port: NEAR + way.offset(),
                secured: false,
                http: http.clone(),
                backend: Backend {
                    address: SocketAddr::new(servers.near, way.server_port()),
                    secured: false,
                    http2: way.is_http2(),
                },
            });
            exit.push(Hop {
                name: format!("in-{name}"),
                port: ENTRANCE + way.offset(),
                secured: true,
                http: way.is_http().then(|| Rules::one("/")),
                backend: Backend {
                    address: SocketAddr::new(servers.far, way.server_port()),
                    secured: false,
                    http2: way.is_http2(),
                },
            });
        }
        Ok(Self {
            a: Envoy::start(program, a, &entrance, &certificates, &home)?,
            b: Envoy::start(program, b, &exit, &certificates, &home)?,
        })
    }

    /// Where a client connects to, for a server on the other node.
    pub fn far(&self, way: Way) -> SocketAddr {
        SocketAddr::new(self.a.address, FAR + way.offset())
    }

    /// Where a client connects to, for a server on its own node.
    pub fn near(&self, way: Way) -> SocketAddr {
        SocketAddr::new(self.a.address, NEAR + way.offset())
    }

    /// Both.
    pub fn all(&self) -> [&Envoy; 2] {
        [&self.a, &self.b]
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

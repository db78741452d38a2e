//! A shop with hostile peers: their certificates are good. What a node holds before and after them.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use mesh_e2e::LONG;
use mesh_e2e::rogue::{Authority, Credentials, TUNNEL_PORT, Validity};
use mesh_e2e::servers::NGINX_PORT;
use mesh_e2e::shop::Shop;
use mesh_e2e::traffic::{curl, listen};
use mesh_e2e::turns::Report;
use mesh_harness::manifest::WorkloadManifest;
use mesh_harness::node::NodeProxy;
use mesh_harness::{Program, Workload, until};

/// Frames by hand: what no library would send.
const PEER: &str = include_str!("../../src/hostile_peer.py");
/// Debian's own interpreter, which sees the packages that apt installs.
const PYTHON: &str = "/usr/bin/python3";
/// Where a server listens that accepts and reads only when a test does.
pub(crate) const PORT: u16 = 7300;
pub(crate) const MIB: u64 = 1024 * 1024;
/// What handshakes, requests and streams of one hostile peer may cost a node for good: allocator's arenas, no more.
const SLACK_BYTES: u64 = 24 * MIB;
/// File descriptors that come and go by themselves: scrapes, the control plane's connection, idle tunnels.
const SLACK_FILES: usize = 12;
/// The shop, an enrolled pod whose server a test controls, and a pod that speaks for itself.
pub(crate) struct Lab {
    pub(crate) shop: Shop,
    pub(crate) far: Workload,
    pub(crate) listener: TcpListener,
    pub(crate) papers: Papers,
    /// Runs the hostile server; its node's proxy is not ours.
    pub(crate) impostor: Workload,
}

/// Certificates that are good, in bad hands.
pub(crate) struct Papers {
    /// The program that shows them.
    peer: PathBuf,
    roots: PathBuf,
    pub(crate) client: Credentials,
    pub(crate) impostor: Credentials,
}

/// What a node holds.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) files: usize,
    pub(crate) bytes: u64,
    connections: u64,
}

impl Lab {
    pub(crate) fn open() -> Result<Self> {
        let mut shop = Shop::open()?;
        let far = shop.mesh.add_pod("node-b", "far")?;
        shop.mesh
            .enrol("shop", "node-b", &far, |manifest| manifest.port("raw", PORT))?;
        shop.add_service_with("far", 41, 80, PORT, 1)?;
        let listener = listen(&far, PORT);
        let impostor = shop.mesh.add_pod("node-b", "impostor")?;
        let manifest = WorkloadManifest::new("shop", "node-of-another", &impostor).port("http", NGINX_PORT);
        shop.mesh.manifests.workload(&manifest)?;
        shop.add_service_with("impostor", 42, 80, NGINX_PORT, 1)?;
        let authority = Authority::of_mesh(&shop.mesh.control)?;
        let folder = shop.folder();
        let roots = folder.join("hostile-roots.pem");
        authority.write_roots(&roots)?;
        let issue = |account: &str| {
            let identity = format!("spiffe://cluster.local/ns/shop/sa/{account}");
            authority.issue(&folder, &format!("hostile-{account}"), &identity, Validity::Good)
        };
        let peer = folder.join("hostile_peer.py");
        fs::write(&peer, PEER)?;
        let papers = Papers {
            peer,
            client: issue("client")?,
            impostor: issue("impostor")?,
            roots,
        };
        Ok(Self {
            shop,
            far,
            listener,
            papers,
            impostor,
        })
    }

    pub(crate) fn peer(
        &self,
        at: &Workload,
        own: &Credentials,
        mode: &str,
        to: SocketAddr,
        asked: SocketAddr,
    ) -> Program {
        let program = at.place.program_at(&format!("hostile-{mode}"), Path::new(PYTHON));
        let program = program.arg(&self.papers.peer);
        let program = program.args([mode, &to.ip().to_string(), &to.port().to_string()]);
        let program = program
            .arg(&self.papers.roots)
            .arg(&own.certificate)
            .arg(&own.key);
        program.arg(asked.to_string())
    }

    /// A client outside the mesh that asks a pod's proxy for one of its ports.
    pub(crate) fn client(&self, mode: &str, pod: &Workload, port: u16) -> Program {
        let at = |port| SocketAddr::new(pod.v4(), port);
        self.peer(
            &self.shop.outsider,
            &self.papers.client,
            mode,
            at(TUNNEL_PORT),
            at(port),
        )
    }

    /// What such a client met, of the web server's proxy.
    pub(crate) fn meet(&self, mode: &str, more: &[&str]) -> Vec<String> {
        self.meet_at(mode, &self.shop.web, NGINX_PORT, more)
    }

    pub(crate) fn meet_at(&self, mode: &str, pod: &Workload, port: u16, more: &[&str]) -> Vec<String> {
        let run = self.client(mode, pod, port).args(more).run(LONG).unwrap();
        let text = run.success().unwrap().text();
        text.split_whitespace().map(str::to_owned).collect()
    }

    pub(crate) fn held(&mut self, node: usize) -> Held {
        held(&mut self.shop.mesh.nodes[node])
    }

    /// Serves as ever, and gives back what the hostile peers made it hold.
    pub(crate) fn assert_unharmed(&mut self, node: usize, before: &Held) {
        assert_eq!(curl(&self.shop.client, "http://10.96.0.1/ok"), "ok");
        let proxy = &mut self.shop.mesh.nodes[node];
        let mut last = None;
        let returned = until("what was held to be given back", LONG, || {
            let now = held(proxy);
            let is_back = now.files <= before.files + SLACK_FILES
                && now.connections <= before.connections
                && now.bytes <= before.bytes + SLACK_BYTES;
            last = Some(now);
            thread::sleep(Duration::from_millis(200));
            Ok(is_back.then_some(()))
        });
        assert!(returned.is_ok(), "{before:?} before, now {last:?}");
    }
}

impl Report for Lab {
    fn report(&self) -> String {
        self.shop.report()
    }
}

/// Whether the connection was ended without a word.
pub(crate) fn is_closed(met: &str) -> bool {
    ["eof", "broken", "tls"].contains(&met)
}

fn held(node: &mut NodeProxy) -> Held {
    let connections = node.admin("/status").unwrap()["open_connections"]
        .as_u64()
        .unwrap();
    let process = node.process().unwrap();
    Held {
        files: process.open_files().unwrap(),
        bytes: process.resident_bytes().unwrap(),
        connections,
    }
}

//! The workloads, and what tests ask of them.
//!
//! ```text
//!  node-a: client, db-0, db-1   (own namespaces)     shop/db   10.96.0.11:5432  [fd00:96::11]:5432   tcp, db-0 behind it
//!  node-b: far                                       app=far
//! ```

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Result;
use mesh_e2e::MOMENT;
use mesh_e2e::traffic::{accept, address, connect, listen};
use mesh_e2e::turns::{Report, Turns};
use mesh_harness::manifest::{ServiceManifest, WorkloadManifest};
use mesh_harness::node::NodeProxy;
use mesh_harness::{Mesh, Metrics, Workload, until};
use serde_json::Value;

/// The namespace of all workloads.
pub(super) const NAMESPACE: &str = "shop";
/// `shop/db`.
pub(super) const DB: &str = "10.96.0.11:5432";
/// The same over IPv6.
pub(super) const DB_V6: &str = "[fd00:96::11]:5432";
/// Where the databases listen.
pub(super) const PORT: u16 = 7400;
/// How soon a change that is known ends connections.
pub(super) const SOON: Duration = Duration::from_secs(1);

/// All of them.
#[derive(Debug)]
pub(super) struct Yard {
    pub(super) mesh: Mesh,
    pub(super) client: Workload,
    pub(super) db: [Workload; 2],
    pub(super) far: Workload,
    pub(super) listeners: [TcpListener; 2],
}

/// Two ends of one connection.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) near: TcpStream,
    pub(super) far: TcpStream,
    /// Whether the client's own connection has arrived, and not one of the proxy's.
    pub(super) is_direct: bool,
}

pub(super) static YARD: Turns<Yard> = Turns::new(Yard::open);

// === impl Yard ===

impl Yard {
    fn open() -> Result<Self> {
        let mut mesh = Mesh::builder().node("node-a").node("node-b").prepare()?;
        mesh.manifests.namespace(NAMESPACE, true)?;
        mesh.start_nodes()?;
        let client = mesh.add_pod("node-a", "client")?;
        let db = [mesh.add_pod("node-a", "db-0")?, mesh.add_pod("node-a", "db-1")?];
        let far = mesh.add_pod("node-b", "far")?;
        let listeners = [listen(&db[0], PORT), listen(&db[1], PORT)];
        mesh.enrol(NAMESPACE, "node-a", &client, |workload| workload)?;
        mesh.enrol(NAMESPACE, "node-a", &db[0], |workload| workload.port("sql", PORT))?;
        mesh.enrol(NAMESPACE, "node-a", &db[1], |workload| workload.port("sql", PORT))?;
        mesh.enrol(NAMESPACE, "node-b", &far, |workload| workload.port("sql", PORT))?;
        let yard = Self {
            mesh,
            client,
            db,
            far,
            listeners,
        };
        yard.restore()?;
        Ok(yard)
    }

    /// As a test finds it: one endpoint behind `shop/db`, no policy and no routes.
    pub(super) fn restore(&self) -> Result<()> {
        for file in ["policy.yaml", "route.yaml"] {
            // That it is not there is as well.
            self.mesh.manifests.remove(file).ok();
        }
        self.behind("db-0", 1)
    }

    /// Puts the workloads whose label `app` is this behind `shop/db`, and waits until there are so many.
    pub(super) fn behind(&self, app: &str, count: usize) -> Result<()> {
        let service = ServiceManifest::new(NAMESPACE, "db").selects(app);
        let service = service.address("10.96.0.11").address("fd00:96::11");
        let service = service.port(5432, PORT);
        self.mesh.manifests.service(&service)?;
        self.a().wait_service("shop/db", count)
    }

    /// Changes the label of workloads that are to be behind `shop/db` together.
    pub(super) fn label(&self, workload: &Workload, node: &str, app: &str, weight: u32) -> Result<()> {
        let manifest = WorkloadManifest::new(NAMESPACE, node, workload).port("sql", PORT);
        let manifest = manifest.label("app", app).weight(weight);
        self.mesh.manifests.workload(&manifest).map(drop)
    }

    /// The node of everything but `far`.
    pub(super) fn a(&self) -> &NodeProxy {
        &self.mesh.nodes[0]
    }

    /// Connects the client to the first database and says which way that went. Bytes have gone both ways.
    pub(super) fn line(&self, to: &str) -> Line {
        line(&self.client, address(to), &self.listeners[0])
    }

    /// Connects until a connection goes past the proxy.
    pub(super) fn direct(&self, to: &str) -> Line {
        direct(self.a(), &self.client, address(to), &self.listeners[0])
    }

    /// What `/direct` says of a destination of the client.
    pub(super) fn pair(&self, to: &str) -> Result<Option<Value>> {
        pair(self.a(), "shop/client", address(to))
    }

    /// Waits until `/direct` withholds a destination of the client for a reason with these words.
    pub(super) fn wait_withheld(&self, to: &str, words: &str) {
        let mut last = None;
        let waited = until("the grant to be withheld", MOMENT, || {
            last = self.pair(to)?;
            let withheld = last.as_ref().and_then(|pair| pair["withheld"].as_str());
            Ok(withheld.filter(|reason| reason.contains(words)).map(drop))
        });
        assert!(
            waited.is_ok(),
            "{words:?} is not why: {last:?}\n{}",
            self.a().log_tail()
        );
    }

    /// Waits until the client's connections to a destination are granted.
    pub(super) fn wait_granted(&self, to: &str, endpoints: usize) {
        let mut last = None;
        let waited = until("the grant", MOMENT, || {
            last = self.pair(to)?;
            let granted = last.as_ref().and_then(|pair| pair["endpoints"].as_array());
            Ok(granted.filter(|granted| granted.len() == endpoints).map(drop))
        });
        assert!(waited.is_ok(), "{last:?}\n{}", self.a().log_tail());
    }

    /// Writes a TrafficPolicy for `shop/db`.
    pub(super) fn policy(&self, spec: &str) {
        let text = format!(
            "apiVersion: nodemesh.io/v1alpha1\nkind: TrafficPolicy\nmetadata: {{ namespace: {NAMESPACE}, name: db }}\n\
             spec:\n  targetRefs: [ {{ kind: Service, name: db }} ]\n  {spec}\n"
        );
        self.mesh.manifests.write("policy.yaml", &text).unwrap();
    }
}

impl Report for Yard {
    fn report(&self) -> String {
        self.mesh.logs()
    }
}

/// Connects, and says which way that went. Bytes have gone both ways.
pub(super) fn line(from: &Workload, to: SocketAddr, at: &TcpListener) -> Line {
    let mut near = connect(from, to);
    let word: [u8; 3] = std::array::from_fn(|_| fastrand::u8(..));
    near.write_all(&word).unwrap();
    let (mut far, peer) = loop {
        // What an earlier test has left behind may come first.
        let (mut far, peer) = accept(at);
        let mut read = [0; 3];
        if far.read_exact(&mut read).is_ok() && read == word {
            break (far, peer);
        }
    };
    far.write_all(b"answer").unwrap();
    near.read_exact(&mut [0; 6]).unwrap();
    let is_direct = near.local_addr().unwrap().port() == peer.port();
    Line { near, far, is_direct }
}

/// Connects until a connection goes past the proxy.
pub(super) fn direct(node: &NodeProxy, from: &Workload, to: SocketAddr, at: &TcpListener) -> Line {
    let found = until("a connection past the proxy", MOMENT, || {
        let line = line(from, to, at);
        Ok(line.is_direct.then_some(line))
    });
    let said = || format!("{to}: {:?}\n{}", node.admin("/direct"), node.log_tail());
    assert!(found.is_ok(), "{found:?}: {}", said());
    found.unwrap()
}

/// What `/direct` says of a workload's destination.
pub(super) fn pair(node: &NodeProxy, workload: &str, to: SocketAddr) -> Result<Option<Value>> {
    let all = node.admin("/direct")?;
    let mut pairs = all["pairs"].as_array().into_iter().flatten();
    let is_it = |pair: &&Value| pair["workload"] == workload && pair["destination"] == to.to_string();
    Ok(pairs.find(is_it).cloned())
}

/// A counter of the client's connections.
pub(super) fn sum(metrics: &Metrics, name: &str, transport: &str) -> u64 {
    let labels = [("transport", transport), ("workload", "shop/client")];
    // Nothing at all adds up to -0.
    let sum = metrics.sum(&format!("mesh_node_{name}_total"), &labels).abs();
    format!("{sum:.0}").parse().unwrap()
}

/// The metrics, once all that is over has been told of.
pub(super) fn settled(node: &NodeProxy) -> Metrics {
    until("all connections to be told of", MOMENT, || {
        let metrics = node.metrics()?;
        let is_even =
            sum(&metrics, "connections_opened", "direct") == sum(&metrics, "connections_closed", "direct");
        std::thread::sleep(Duration::from_millis(200));
        let next = node.metrics()?;
        let is_same =
            sum(&metrics, "connections_opened", "direct") == sum(&next, "connections_opened", "direct");
        Ok((is_even && is_same).then_some(next))
    })
    .unwrap()
}

// === impl Line ===

impl Line {
    /// Bytes go both ways.
    pub(super) fn works(&mut self) {
        self.near.write_all(b"still").unwrap();
        self.far.read_exact(&mut [0; 5]).unwrap();
        self.far.write_all(b"there").unwrap();
        self.near.read_exact(&mut [0; 5]).unwrap();
    }

    /// Waits for the end that the node makes, and gives how long that took; both ends must see a failure.
    pub(super) fn wait_ended(&mut self, from: Instant) -> Duration {
        let near = self.near.read(&mut [0]).map_err(|error| error.kind());
        let took = from.elapsed();
        assert_eq!(near, Err(ErrorKind::ConnectionAborted));
        let far = self.far.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(far, Err(ErrorKind::ConnectionReset));
        took
    }

    /// Ends both directions, the client's first.
    pub(super) fn close(mut self) {
        self.near.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(self.far.read(&mut [0]).unwrap(), 0);
        drop(self.far);
        assert_eq!(self.near.read(&mut [0]).unwrap(), 0);
    }
}

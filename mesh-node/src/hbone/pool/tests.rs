//! The pool against real servers on the loopback: TLS, HTTP/2 and CONNECT, in one process.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use mesh_model::{TrustBundle, TrustDomain, fixture};
use mesh_runtime::drain::{self, Trigger};
use prometheus_client::registry::Registry;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use zeroize::Zeroizing;

use super::*;
use crate::hbone::authority::Authority;
use crate::hbone::server::{self, Stream};
use crate::identity::Store;
use crate::identity::tls::{HostIdentities, Shown, provider};
use crate::identity::verify::Trust;
use crate::net::namespace::Namespace;
use crate::net::side::Side;

const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct NoHosts;

impl HostIdentities for NoHosts {
    fn contains(&self, _: &Identity) -> bool {
        false
    }

    fn only(&self) -> Option<Identity> {
        None
    }
}

/// A mesh of two identities: `a/client`, whose pool is under test, and `a/server`.
struct Mesh {
    pool: Arc<Pool>,
    own: Arc<Material>,
    tls: Tls,
    /// Dropped, it would stop the pool.
    _trigger: Trigger,
    namespace: Arc<Namespace>,
    /// The source workload's.
    release: Trigger,
    released: Drain,
}

/// A proxy on the loopback.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicU32>,
    trigger: Trigger,
    _tasks: tasks::Tasks,
}

impl Mesh {
    fn new(config: HboneConfig) -> Self {
        let provider = provider();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let store = Store::new();
        for account in ["client", "server"] {
            let identity = fixture::identity("a", account);
            let mut params = CertificateParams::default();
            params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into().unwrap())];
            let key = KeyPair::generate().unwrap();
            let chain = vec![params.signed_by(&key, &root).unwrap().der().to_vec()];
            let key = Zeroizing::new(key.serialize_der());
            store.insert(Material::new(identity, chain, key, [0; 32], &provider).unwrap());
        }
        let own = store.get(&fixture::identity("a", "client")).unwrap();
        let trust = Trust::new(Arc::clone(&provider));
        let trust_domain = TrustDomain::new(fixture::TRUST_DOMAIN).unwrap();
        let roots = vec![root.der().to_vec()];
        trust
            .replace(&TrustBundle {
                trust_domain,
                roots,
                signer: [0; 32],
            })
            .unwrap();
        let tls = Tls::new(provider, Arc::new(trust), Arc::new(store));
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let (trigger, drain) = drain::channel();
        let pool = Arc::new(Pool::new(config, tls.clone(), metrics, drain));
        let namespace = Arc::new(Namespace::home().unwrap());
        let (release, released) = drain::channel();
        Self {
            pool,
            own,
            tls,
            _trigger: trigger,
            namespace,
            release,
            released,
        }
    }

    /// A proxy that shows the certificate of `a/<account>` and echoes what each stream sends.
    async fn serve(&self, account: &str) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = self
            .tls
            .server(Shown::One(fixture::identity("a", account)), Arc::new(NoHosts))
            .unwrap();
        let connections = Arc::new(AtomicU32::new(0));
        let (trigger, drain) = drain::channel();
        let tasks = tasks::Tasks::new();
        let counter = Arc::clone(&connections);
        tasks.spawn("server", async move {
            let config = HboneConfig::default();
            while let Ok((stream, peer)) = listener.accept().await {
                let (tls, config, drain) = (Arc::clone(&tls), config.clone(), drain.clone());
                let counter = Arc::clone(&counter);
                tasks::spawn_guarded("tunnel", drain.guard(), async move {
                    if let Ok(accepted) = server::accept(stream, peer, tls, &config).await {
                        counter.fetch_add(1, Ordering::SeqCst);
                        let guard = drain.clone();
                        let serve = |stream| tasks::spawn_guarded("stream", guard.guard(), answer(stream));
                        accepted.serve(&config, &drain, serve).await.ok();
                    }
                });
            }
        });
        Server {
            address,
            connections,
            trigger,
            _tasks: tasks,
        }
    }

    fn key(&self, peer: SocketAddr) -> (Key, Endpoint) {
        let expected = fixture::identity("a", "server");
        let namespace = Arc::clone(&self.namespace);
        let endpoint = Endpoint {
            namespace,
            peer,
            expected: expected.clone(),
            server_name: None,
            released: self.released.clone(),
        };
        (
            Key {
                source: 1,
                peer,
                expected,
                core: 0,
            },
            endpoint,
        )
    }

    async fn lease(&self, peer: SocketAddr) -> Result<Lease, TunnelError> {
        let (key, endpoint) = self.key(peer);
        self.pool.lease(&key, &endpoint, &self.own).await
    }

    async fn connect(&self, peer: SocketAddr, port: u16) -> Result<(Lease, Side), TunnelError> {
        let lease = self.lease(peer).await?;
        let destination = SocketAddr::new(peer.ip(), port);
        let side = client::connect(lease.sender(), peer, destination, HeaderMap::new(), DEADLINE).await?;
        Ok((lease, side))
    }
}

/// Echoes on port 7, resets on port 9 what has sent something, and refuses the rest as HBONE servers do.
async fn answer(stream: Stream) {
    match stream.authority.clone() {
        Authority::Address(address) if address.port() == 7 => {
            let mut side = stream.accept("").unwrap();
            let (mut reader, mut writer) = side.split();
            while let Ok(Some(bytes)) = reader.read().await {
                let length = bytes.len();
                if writer.write(bytes).await.is_err() || reader.consumed(length).is_err() {
                    return;
                }
            }
            writer.finish().await.ok();
        }
        Authority::Address(address) if address.port() == 9 => {
            let mut side = stream.accept("").unwrap();
            side.split().0.read().await.ok();
            side.reset();
        }
        Authority::Address(_) => stream.refuse(StatusCode::SERVICE_UNAVAILABLE),
        Authority::Name(_) => stream.refuse(StatusCode::BAD_REQUEST),
    }
}

async fn echo(side: &mut Side, text: &'static [u8]) -> Vec<u8> {
    let (mut reader, mut writer) = side.split();
    writer.write(Bytes::from_static(text)).await.unwrap();
    writer.finish().await.unwrap();
    let mut answer = Vec::new();
    while let Some(bytes) = reader.read().await.unwrap() {
        reader.consumed(bytes.len()).unwrap();
        answer.extend_from_slice(&bytes);
    }
    answer
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_one_pair_share_a_connection() {
    let mesh = Mesh::new(HboneConfig::default());
    let server = mesh.serve("server").await;
    for _ in 0..20 {
        let (_lease, mut side) = mesh.connect(server.address, 7).await.unwrap();
        assert_eq!(echo(&mut side, b"hello").await, b"hello");
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_come_at_once_wait_for_one_handshake() {
    let mesh = Arc::new(Mesh::new(HboneConfig::default()));
    let server = mesh.serve("server").await;
    let leases = futures::future::join_all((0..8).map(|_| mesh.lease(server.address))).await;
    let first = leases[0].as_ref().unwrap();
    assert!(
        leases
            .iter()
            .all(|lease| Arc::ptr_eq(&lease.as_ref().unwrap().tunnel, &first.tunnel))
    );
    until("the server has seen it", || {
        server.connections.load(Ordering::SeqCst) > 0
    })
    .await;
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn every_thread_has_a_connection_of_its_own() {
    let mesh = Mesh::new(HboneConfig::default());
    let server = mesh.serve("server").await;
    let (mut key, endpoint) = mesh.key(server.address);
    let mut leases = Vec::new();
    for core in [0, 1, 1, 0] {
        key.core = core;
        leases.push(mesh.pool.lease(&key, &endpoint, &mesh.own).await.unwrap());
    }
    let is_same = |one: usize, other: usize| Arc::ptr_eq(&leases[one].tunnel, &leases[other].tunnel);
    assert!(is_same(0, 3) && is_same(1, 2) && !is_same(0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_connections_are_joined_by_more_until_the_limit() {
    let limits = HboneConfig {
        max_streams_per_connection: 2,
        max_connections_per_pair: 3,
        ..HboneConfig::default()
    };
    let mesh = Mesh::new(limits);
    let server = mesh.serve("server").await;
    let mut leases = Vec::new();
    for _ in 0..6 {
        leases.push(mesh.lease(server.address).await.unwrap());
    }
    let error = mesh.lease(server.address).await.unwrap_err();
    assert!(matches!(error, TunnelError::Full { open: 3, .. }), "{error}");
    leases.pop();
    assert!(mesh.lease(server.address).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_another_identity_is_refused_and_everybody_told() {
    let mesh = Mesh::new(HboneConfig::default());
    let server = mesh.serve("client").await;
    let results = futures::future::join_all((0..4).map(|_| mesh.lease(server.address))).await;
    for result in results {
        let error = result.unwrap_err();
        assert_eq!(error.reason(), "tls");
        assert!(
            error.to_string().contains("sa/server was to be reached"),
            "{error}"
        );
    }
    // A failure is not remembered: the next one tries again.
    assert_eq!(mesh.lease(server.address).await.unwrap_err().reason(), "tls");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_there_is_told_with_a_hint() {
    let mesh = Mesh::new(HboneConfig::default());
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let error = mesh.lease(closed).await.unwrap_err();
    assert_eq!(error.reason(), "tunnel_connect");
    assert!(error.to_string().contains("blocking port 15008"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_peer_is_given_up_at_the_deadline() {
    let limits = HboneConfig {
        connect_timeout: Duration::from_millis(200),
        ..HboneConfig::default()
    };
    let mesh = Mesh::new(limits);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = mesh.lease(listener.local_addr().unwrap()).await.unwrap_err();
    assert_eq!(error.reason(), "tunnel_timeout");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_and_resets_reach_the_client() {
    let mesh = Mesh::new(HboneConfig::default());
    let server = mesh.serve("server").await;
    let error = mesh.connect(server.address, 8).await.unwrap_err();
    assert!(
        matches!(
            error,
            TunnelError::Refused {
                status: StatusCode::SERVICE_UNAVAILABLE,
                ..
            }
        ),
        "{error}"
    );
    let (_lease, mut side) = mesh.connect(server.address, 9).await.unwrap();
    let (mut reader, mut writer) = side.split();
    writer.write(Bytes::from_static(b"x")).await.unwrap();
    let error = reader.read().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_server_finishes_its_streams_and_gets_no_new_ones() {
    let mesh = Mesh::new(HboneConfig::default());
    let server = mesh.serve("server").await;
    let (lease, mut side) = mesh.connect(server.address, 7).await.unwrap();
    server.trigger.stop();
    // The stop reaches the server's task, and its GOAWAY this end, in their own time.
    let end = Instant::now() + DEADLINE;
    loop {
        let destination = SocketAddr::new(server.address.ip(), 7);
        let opened = client::connect(
            lease.sender(),
            server.address,
            destination,
            HeaderMap::new(),
            DEADLINE,
        )
        .await;
        if matches!(opened, Err(TunnelError::Http2 { .. })) {
            break;
        }
        assert!(Instant::now() < end, "the draining server still takes streams");
    }
    assert_eq!(echo(&mut side, b"still here").await, b"still here");
    lease.mark_broken();
    let next = mesh.lease(server.address).await.unwrap();
    assert!(!Arc::ptr_eq(&next.tunnel, &lease.tunnel));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_and_those_of_a_gone_workload_are_dropped() {
    let limits = HboneConfig {
        idle_timeout: Duration::from_millis(50),
        ..HboneConfig::default()
    };
    let mesh = Mesh::new(limits);
    let server = mesh.serve("server").await;
    drop(mesh.lease(server.address).await.unwrap());
    until("the idle connection is gone", || {
        mesh.pool.pairs.lock().is_empty()
    })
    .await;

    let lease = mesh.lease(server.address).await.unwrap();
    mesh.release.stop();
    until("the released workload's connection is gone", || {
        mesh.pool.drain.in_progress() == 0 && mesh.pool.pairs.lock().is_empty()
    })
    .await;
    drop(lease);
    // Who was about to open one when the workload was released does not leave it behind.
    drop(mesh.lease(server.address).await);
    until("the late connection is gone", || {
        mesh.pool.drain.in_progress() == 0 && mesh.pool.pairs.lock().is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_can_not_be_reached_leaves_nothing_in_the_pool() {
    let mesh = Mesh::new(HboneConfig::default());
    let gone = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let error = mesh.lease(gone).await.unwrap_err();
    assert_eq!(error.reason(), "tunnel_connect");
    until("the pair is gone", || mesh.pool.pairs.lock().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_takes_no_streams_is_not_kept_idle() {
    let mesh = Mesh::new(HboneConfig::default());
    let server = mesh.serve("server").await;
    let lease = mesh.lease(server.address).await.unwrap();
    lease.mark_broken();
    drop(lease);
    until("the broken connection is gone", || {
        mesh.pool.pairs.lock().is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_speaks_no_tls_is_refused_with_the_reason() {
    let mesh = Mesh::new(HboneConfig::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, peer) = listener.accept().await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let tls = mesh
        .tls
        .server(Shown::One(fixture::identity("a", "server")), Arc::new(NoHosts))
        .unwrap();
    let error = server::accept(stream, peer, tls, &HboneConfig::default())
        .await
        .err()
        .unwrap();
    assert_eq!(error.reason(), "tls");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.ok();
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

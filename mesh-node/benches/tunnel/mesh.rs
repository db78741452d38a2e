//! Two identities, a pool, and the server of tunnels before an application: what a client's node and a server's node have
//! of the tunnel, without configuration and capture.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use http::HeaderMap;
use mesh_model::{Identity, TrustBundle, TrustDomain, fixture};
use mesh_node::config::HboneConfig;
use mesh_node::flow::relay::{Count, relay};
use mesh_node::hbone::client::{self, Endpoint};
use mesh_node::hbone::pool::{Key, Pool};
use mesh_node::hbone::server::{self, Stream};
use mesh_node::identity::tls::{HostIdentities, Shown, Tls, provider};
use mesh_node::identity::verify::Trust;
use mesh_node::identity::{Material, Store};
use mesh_node::net::namespace::Namespace;
use mesh_node::net::side::Side;
use mesh_node::net::socket;
use mesh_node::telemetry::metrics::Metrics;
use mesh_runtime::drain::{self, Drain, Trigger};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use zeroize::Zeroizing;

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

/// Certificates and configuration, for both ends.
pub(crate) struct Mesh {
    pub(crate) tls: Tls,
    pub(crate) own: Arc<Material>,
    pub(crate) config: HboneConfig,
    pub(crate) drain: Drain,
    _trigger: Trigger,
}

// === impl Mesh ===

impl Mesh {
    pub(crate) fn new() -> Self {
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
        trust
            .replace(&TrustBundle {
                trust_domain: TrustDomain::new(fixture::TRUST_DOMAIN).unwrap(),
                roots: vec![root.der().to_vec()],
                signer: [0; 32],
            })
            .unwrap();
        let (trigger, drain) = drain::channel();
        Self {
            tls: Tls::new(provider, Arc::new(trust), Arc::new(store)),
            own,
            config: HboneConfig::default(),
            drain,
            _trigger: trigger,
        }
    }

    pub(crate) fn pool(&self) -> Arc<Pool> {
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        Arc::new(Pool::new(
            self.config.clone(),
            self.tls.clone(),
            metrics,
            self.drain.clone(),
        ))
    }

    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        self.tls
            .server(Shown::One(fixture::identity("a", "server")), Arc::new(NoHosts))
            .unwrap()
    }

    pub(crate) fn to(&self, peer: SocketAddr) -> (Key, Endpoint) {
        let expected = fixture::identity("a", "server");
        let endpoint = Endpoint {
            namespace: Arc::new(Namespace::home().unwrap()),
            peer,
            expected: expected.clone(),
            server_name: None,
            released: self.drain.clone(),
        };
        let key = Key {
            source: 1,
            peer,
            expected,
            core: 0,
        };
        (key, endpoint)
    }
}

/// The client's node: what connects goes through the pool to the tunnel server at `peer`.
pub(crate) async fn client_node(mesh: Arc<Mesh>, listener: TcpListener, peer: SocketAddr) {
    let pool = mesh.pool();
    let (key, endpoint) = mesh.to(peer);
    let node = Arc::new((pool, key, endpoint, Arc::clone(&mesh)));
    while let Ok((stream, _)) = listener.accept().await {
        let node = Arc::clone(&node);
        tokio::spawn(async move {
            let (pool, key, endpoint, mesh) = &*node;
            socket::tune(&stream).unwrap();
            let lease = pool.lease(key, endpoint, &mesh.own).await.unwrap();
            let deadline = mesh.config.connect_timeout;
            let headers = HeaderMap::new();
            let server = client::connect(lease.sender(), key.peer, key.peer, headers, deadline).await;
            join(Side::Tcp(stream), server.unwrap(), &mesh.drain).await;
        });
    }
}

/// The server's node: every stream goes to `application`.
pub(crate) async fn server_node(mesh: Arc<Mesh>, listener: TcpListener, application: SocketAddr) {
    let tls = mesh.server_config();
    while let Ok((tcp, peer)) = listener.accept().await {
        let (tls, mesh) = (Arc::clone(&tls), Arc::clone(&mesh));
        tokio::spawn(async move {
            socket::tune(&tcp).unwrap();
            let accepted = server::accept(tcp, peer, tls, &mesh.config).await.unwrap();
            let serve = |stream: Stream| {
                let drain = mesh.drain.clone();
                tokio::spawn(async move {
                    let server = connect(application).await;
                    join(stream.accept("").unwrap(), Side::Tcp(server), &drain).await;
                });
            };
            // It ends with the client's tunnel.
            drop(accepted.serve(&mesh.config, &mesh.drain, serve).await);
        });
    }
}

/// A node between two TCP connections.
pub(crate) async fn plain_node(mesh: Arc<Mesh>, listener: TcpListener, application: SocketAddr) {
    while let Ok((stream, _)) = listener.accept().await {
        let mesh = Arc::clone(&mesh);
        tokio::spawn(async move {
            socket::tune(&stream).unwrap();
            let server = connect(application).await;
            join(Side::Tcp(stream), Side::Tcp(server), &mesh.drain).await;
        });
    }
}

async fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).await.unwrap();
    socket::tune(&stream).unwrap();
    stream
}

async fn join(mut client: Side, mut server: Side, drain: &Drain) {
    let (sent, received) = (AtomicU64::new(0), AtomicU64::new(0));
    let metric = Counter::default();
    let count = |connection| Count {
        connection,
        metric: &metric,
    };
    // Connections are broken off when a measurement is over.
    drop(relay(&mut client, &mut server, count(&sent), count(&received), drain).await);
}

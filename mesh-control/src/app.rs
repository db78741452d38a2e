//! Puts the parts together: the order of the start, who follows what, and the order of the stop.

mod board;
mod loader;
mod statuses;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mesh_api::wire::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use mesh_api::wire::nodemesh::v1::certificate_authority_server::CertificateAuthorityServer;
use mesh_model::{Identity, NodeName, TrustBundle};
use mesh_runtime::drain::{self, Drain, Trigger};
use mesh_runtime::http_server::{HttpServer, Router};
use mesh_runtime::readiness::{Condition, Readiness};
use mesh_runtime::tasks::Tasks;
use tokio::sync::{mpsc, watch};
use tonic::service::interceptor::InterceptedService;

pub use board::Board;
pub use loader::check;

use crate::attest::Attestor;
use crate::ca::{Authority, Roster, ServingCertificate, SigningService};
use crate::config::Config;
use crate::listener::{self, Listener};
use crate::push::{self, DiscoveryService};
use crate::source;
use crate::telemetry::Metrics;
use crate::tokens::{Roll, TokenDirectory};
use crate::world::Store;

/// How long each half of the stop may take, streams first, then tasks. Both end at once if all is well.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);
/// Largest message that is taken. A node that reconnects says what it has: 100 bytes for each of 150,000 resources.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// A control plane that runs.
pub struct App {
    server_address: SocketAddr,
    admin_address: SocketAddr,
    trigger: Trigger,
    tasks: Tasks,
}

/// The world as the certificate authority sees it.
struct WorldRoster(Arc<Store>);

/// What the parts share.
struct Wiring {
    drain: Drain,
    tasks: Tasks,
    metrics: Metrics,
    store: Arc<Store>,
}

// === impl App ===

impl App {
    /// Starts everything. An error names what could not be had, and where the configuration says so.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        let (trigger, drain) = drain::channel();
        let wiring = Wiring {
            drain,
            tasks: Tasks::new(),
            metrics: Metrics::default(),
            store: Arc::new(Store::new()),
        };
        let authority = Arc::new(Authority::open(&config.ca).context("the certificate authority ([ca])")?);
        let (roll, poll) = TokenDirectory::new(&config.tokens.directory)
            .follow(wiring.drain.clone())
            .context("the join tokens ([tokens])")?;
        wiring.tasks.spawn("join tokens", poll);
        let readiness = Readiness::new();
        let loaded = readiness.condition("manifests loaded without an error");
        let listening = readiness.condition("listening for nodes");
        wiring.follow_authority(&authority);
        let board = wiring.follow_source(config, &authority, loaded);
        let server_address = wiring.serve_nodes(config, &authority, roll).await?;
        listening.met();
        let mut registry = mesh_runtime::metrics::Metrics::new("mesh_control");
        wiring.metrics.register(registry.registry());
        let router = readiness.mount(registry.mount(board.mount(Router::new())));
        let admin = HttpServer::bind(config.admin.address, router)
            .await
            .context("admin.address")?;
        let admin_address = admin.local_addr();
        let stopping = wiring.drain.clone();
        wiring
            .tasks
            .spawn("admin", async move { admin.serve(stopping.stopping()).await });
        tracing::info!(server = %server_address, admin = %admin_address, "mesh-control serves");
        Ok(Self {
            server_address,
            admin_address,
            trigger,
            tasks: wiring.tasks,
        })
    }

    /// Where nodes connect to.
    pub fn server_address(&self) -> SocketAddr {
        self.server_address
    }

    /// Where metrics, readiness, problems and routes are.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Ends streams and tasks, within a deadline.
    pub async fn stop(self) {
        let drained = self.trigger.drain(DRAIN_DEADLINE).await;
        let aborted = self.tasks.join(DRAIN_DEADLINE).await;
        if drained.left > 0 || !aborted.is_empty() {
            tracing::warn!(streams = drained.left, ?aborted, "not everything ended by itself");
        }
    }
}

// === impl Wiring ===

impl Wiring {
    fn follow_authority(&self, authority: &Arc<Authority>) {
        let bundle = authority.bundle();
        self.store.set_trust(bundle.borrow().clone());
        let (store, metrics) = (Arc::clone(&self.store), self.metrics.clone());
        let (follower, drain) = (Arc::clone(authority), self.drain.clone());
        self.tasks.spawn(
            "certificate authority",
            Arc::clone(authority).follow(self.drain.clone()),
        );
        self.tasks.spawn("trust bundle", async move {
            publish_trust(&follower, bundle, &store, &metrics, &drain).await;
        });
    }

    fn follow_source(&self, config: &Config, authority: &Authority, loaded: Condition) -> Board {
        // One load waits while the one before is joined.
        let (loads, incoming) = mpsc::channel(1);
        let folder = config.source.folder.clone();
        self.tasks.spawn(
            "folder of manifests",
            source::watch(folder, loads, self.drain.clone()),
        );
        let board = Board::default();
        let loader = loader::Loader {
            trust_domain: authority.trust_domain().clone(),
            store: Arc::clone(&self.store),
            board: board.clone(),
            metrics: self.metrics.clone(),
            loaded,
        };
        self.tasks.spawn("loader", loader.run(incoming));
        board
    }

    async fn serve_nodes(
        &self,
        config: &Config,
        authority: &Arc<Authority>,
        roll: Roll,
    ) -> anyhow::Result<SocketAddr> {
        let (catalogs, catalog) = watch::channel(None);
        self.tasks.spawn(
            "catalog",
            push::follow(self.store.subscribe(), catalogs, self.drain.clone()),
        );
        let certificate = ServingCertificate::issue(authority, &config.server.server_name)
            .context("the certificate for server.server-name")?;
        let certificate = Arc::new(certificate);
        self.tasks.spawn(
            "serving certificate",
            Arc::clone(&certificate).renew(self.drain.clone()),
        );
        let listener = Listener::bind(config.server.address, certificate).await?;
        let address = listener.address();
        let attestor = Attestor::new(roll, self.metrics.clone());
        let discovery = DiscoveryService::new(catalog, self.metrics.clone(), self.drain.clone());
        let discovery =
            AggregatedDiscoveryServiceServer::new(discovery).max_decoding_message_size(MAX_MESSAGE);
        let roster = Arc::new(WorldRoster(Arc::clone(&self.store)));
        let signing = SigningService::new(Arc::clone(authority), roster, self.metrics.clone());
        let router = listener::server()
            .add_service(InterceptedService::new(discovery, attestor.clone()))
            .add_service(InterceptedService::new(
                CertificateAuthorityServer::new(signing),
                attestor,
            ));
        let (connections, accept) = listener.accept(self.drain.clone());
        self.tasks.spawn("accept", accept);
        let drain = self.drain.clone();
        self.tasks.spawn("gRPC server", async move {
            let served =
                router.serve_with_incoming_shutdown(connections, async move { drain.stopping().await });
            if let Err(error) = served.await {
                tracing::error!(%error, "the gRPC server ended");
            }
        });
        Ok(address)
    }
}

async fn publish_trust(
    authority: &Authority,
    mut bundle: watch::Receiver<TrustBundle>,
    store: &Store,
    metrics: &Metrics,
    drain: &Drain,
) {
    loop {
        metrics
            .signer_expiry
            .set(authority.signer().not_after().unix_timestamp());
        store.set_trust(bundle.borrow_and_update().clone());
        tokio::select! {
            () = drain.stopping() => return,
            changed = bundle.changed() => if changed.is_err() { return },
        }
    }
}

impl Roster for WorldRoster {
    fn runs(&self, node: &NodeName, identity: &Identity) -> bool {
        self.0.current().runs(node, identity)
    }
}

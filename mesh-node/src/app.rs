//! The wiring: makes every part, in order, joins them, and stops them in the reverse order.
//!
//! The data plane's threads carry connections and do nothing else; one more thread does the rest (control plane,
//! certificates, enrolment, admin), so that neither can hold the other up.

mod expiry;
mod readings;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use mesh_api::admin::ControlStatus;
use mesh_runtime::drain::{self, Drain, StopSignal, Trigger};
use mesh_runtime::http_server::{HttpServer, Router};
use mesh_runtime::logging::LogHandle;
use mesh_runtime::metrics::Metrics as Registry;
use mesh_runtime::readiness::Readiness;
use mesh_runtime::tasks::Tasks;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use parking_lot::Mutex;
use tokio::runtime::Builder;
use tokio::sync::Semaphore;

use crate::admin::Admin;
use crate::capture::{Capture, Hierarchy, Kernel, Ports, Settings};
use crate::config::Config;
use crate::control::Control;
use crate::flow::context::Context;
use crate::flow::direct::{self, Direct};
use crate::flow::http::pool::Upstreams;
use crate::flow::live::Live;
use crate::flow::plan::Plans;
use crate::hbone::pool::Pool;
use crate::identity::authority::Authority;
use crate::identity::manager::Manager as IdentityManager;
use crate::identity::tls::{self, Tls};
use crate::identity::vault::Vault;
use crate::identity::verify::Trust;
use crate::local::Locals;
use crate::net::cores::{Cores, Threads};
use crate::state::Store;
use crate::sync::cache::Cache;
use crate::sync::client::Client;
use crate::sync::keeper::Keeper;
use crate::telemetry::access_log::{self, AccessLog};
use crate::telemetry::connections::ConnectionMetrics;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::requests::RequestMetrics;
use crate::workloads::listeners::OUTBOUND_PORT;
use crate::workloads::manager::{Known, Manager as WorkloadManager, Reasons};

/// Copies of requests under way at once, in the whole node; more are left out, and counted.
const MAX_MIRRORS: usize = 1024;
/// The port of inbound plaintext.
const INBOUND_PORT: u16 = 15006;
/// How long connections are given to end once they have been cut off.
const CUT_OFF: Duration = Duration::from_secs(2);

/// Runs the node until a signal stops it.
pub fn run(config: Config, log: LogHandle) -> Result<()> {
    raise_file_limit();
    // Before any socket of the proxy is made: sockets belong to the cgroup in which they are made.
    let capture = Arc::new(Capture::start(&capture_settings(&config))?);
    let (threads, cores) =
        Threads::start(config.threads.workers).context("cannot start the data plane's threads")?;
    let admin = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the admin thread")?;
    let result =
        Node::new(config, log, Arc::clone(&capture), cores).and_then(|node| admin.block_on(node.run()));
    // Ends every task, so that nothing uses the capture any more.
    admin.shutdown_timeout(CUT_OFF);
    threads.stop(CUT_OFF);
    // After a start that failed, whom a former process captured stays captured: released, his traffic would go past
    // the mesh because a port was taken.
    if result.is_ok() {
        stop(capture);
    }
    result
}

/// Checks what can be checked without starting: the files that the configuration names.
pub fn check(config: &Config) -> Result<()> {
    Control::new(config.control.clone(), Arc::new(Store::new())).check()?;
    Ok(())
}

/// A connection takes two file descriptors, and service managers start programs with a soft limit of 1024, for those
/// that still use select(2); the hard limit is what the machine's owner allows.
fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard));
    match raised {
        Ok(limit) => tracing::info!(limit, "open files"),
        Err(error) => tracing::warn!(%error, "cannot raise the limit of open files"),
    }
}

fn stop(capture: Arc<Capture>) {
    let Some(capture) = Arc::into_inner(capture) else {
        tracing::error!("the capture is still in use and stays in force");
        return;
    };
    if let Err(error) = capture.stop() {
        tracing::error!(%error, "cannot remove all of the capture; 'bpftool link' shows what is left");
    }
}

fn capture_settings(config: &Config) -> Settings {
    Settings {
        node: config.node.name.to_string(),
        pin_directory: config.capture.pin_directory.clone(),
        exclude_ports: config.capture.exclude_ports.clone(),
        exclude_cidrs: config.capture.exclude_cidrs.clone(),
        kernel_log: config.capture.kernel_log,
        proxy_cgroup: config.capture.proxy_cgroup.clone(),
        on_stop: config.capture.on_stop,
        ports: Ports {
            outbound: OUTBOUND_PORT,
            inbound: INBOUND_PORT,
            hbone: crate::hbone::PORT,
        },
    }
}

/// All parts, before they run.
struct Node {
    config: Config,
    log: LogHandle,
    capture: Arc<Capture>,
    context: Arc<Context>,
    cores: Cores,
    trigger: Trigger,
    drain: Drain,
    registry: Registry,
    readiness: Readiness,
    client: Client,
    identities: Arc<IdentityManager>,
}

// === impl Node ===

impl Node {
    fn new(config: Config, log: LogHandle, capture: Arc<Capture>, cores: Cores) -> Result<Self> {
        let mut registry = Registry::new("mesh_node");
        let metrics = Arc::new(Metrics::register(registry.registry()));
        registry
            .registry()
            .register_collector(Box::new(readings::capture_counters(&capture)));
        let (trigger, drain) = drain::channel();
        let store = Arc::new(Store::new());
        let control = Control::new(config.control.clone(), Arc::clone(&store));
        let provider = tls::provider();
        let identities = IdentityManager {
            node: config.node.name.clone(),
            snapshot: Arc::clone(&store),
            identities: Arc::new(crate::identity::Store::new()),
            trust: Arc::new(Trust::new(Arc::clone(&provider))),
            authority: Authority::new(control.clone(), Arc::clone(&provider)),
            vault: Vault::open(&config.node.runtime_directory)
                .with_context(|| unusable("node.runtime-directory", &config.node.runtime_directory))?,
            metrics: Arc::clone(&metrics),
            provider,
        };
        let kernel = Arc::clone(&capture);
        let context = data_plane(&config, &identities, kernel, drain.clone());
        registry
            .registry()
            .register_collector(Box::new(Arc::clone(&context.connections)));
        registry
            .registry()
            .register_collector(Box::new(Arc::clone(&context.requests)));
        registry
            .registry()
            .register_collector(Box::new(readings::lines_left_out(&context)));
        registry
            .registry()
            .register_collector(Box::new(readings::backends(context.store.backends())));
        let readiness = Readiness::new();
        let client = Client {
            node: config.node.name.clone(),
            store,
            cache: Cache::open(&config.node.state_directory)
                .with_context(|| unusable("node.state-directory", &config.node.state_directory))?,
            metrics,
            configured: readiness.condition("configuration"),
            status: Arc::new(Mutex::new(ControlStatus {
                address: control.address().to_owned(),
                is_connected: false,
                last_error: None,
                is_stale: false,
            })),
            control,
        };
        Ok(Self {
            config,
            log,
            capture,
            context,
            cores,
            trigger,
            drain,
            registry,
            readiness,
            client,
            identities: Arc::new(identities),
        })
    }

    async fn run(self) -> Result<()> {
        let mut signal = StopSignal::new().context("cannot listen for signals")?;
        let tasks = Tasks::new();
        let running = self.readiness.condition("running");
        let reasons = Reasons::default();
        let admin = Admin {
            context: Arc::clone(&self.context),
            readiness: self.readiness.clone(),
            control: Arc::clone(&self.client.status),
            reasons: Arc::clone(&reasons),
            log: self.log,
            started: Instant::now(),
        };
        let manager = WorkloadManager {
            context: Arc::clone(&self.context),
            cores: self.cores,
            hierarchy: cgroup_mount()?,
            enrolled: self.readiness.condition("workloads"),
            reasons,
        };
        let config = &self.config;
        let ready = self.readiness.clone().mount(Router::new());
        serve(
            &tasks,
            "metrics",
            config.metrics.address,
            self.registry.mount(Router::new()),
        )
        .await?;
        serve(&tasks, "admin", config.admin.address, admin.router()).await?;
        serve(&tasks, "readiness", config.readiness.address, ready).await?;

        let session = self.client.restore();
        self.identities.restore();
        let readiness = self.readiness.clone();
        let is_configured = move || !readiness.pending().contains(&"configuration");
        let keeper = Keeper {
            store: Arc::clone(&self.client.store),
            cache: self.client.cache.clone(),
        };
        tasks.spawn("configuration on disk", keeper.run(is_configured.clone()));
        let status = Arc::clone(&self.client.status);
        let known = move || match (is_configured(), status.lock().is_stale) {
            (false, _) => Known::Nothing,
            (true, true) => Known::Former,
            (true, false) => Known::Current,
        };
        let enrolment = tasks.spawn("workloads", manager.run(known, self.drain));
        tasks.spawn("certificates", self.identities.run());
        let retention = config.metrics.series_retention;
        tasks.spawn("series", expiry::run(Arc::clone(&self.context), retention));
        let is_wanted = config.capture.direct_connections;
        let direct = direct::Keeper::new(Arc::clone(&self.context), self.capture, is_wanted);
        tasks.spawn("connections past the proxy", direct.run());
        tasks.spawn("control plane", self.client.run(session));
        running.met();
        tracing::info!(node = %config.node.name, "started");

        let signal = signal.received().await;
        let deadline = config.drain.deadline;
        tracing::info!(
            signal,
            ?deadline,
            open = self.context.live.count(),
            "stopping: draining connections"
        );
        running.unmet();
        // Closes the listeners: new connections are refused from here on. Captured they stay until the very end.
        enrolment.abort();
        let left = self.trigger.drain(deadline).await.left;
        if left > 0 {
            tracing::warn!(left, "deadline passed: cutting off what is left");
            self.context.locals.all().iter().for_each(|local| local.close());
            self.trigger.drain(CUT_OFF).await;
        }
        self.context.access_log.flush();
        tracing::info!("stopped");
        Ok(())
    }
}

/// The data plane's handles. Also for who measures it, without the rest of a node.
pub fn data_plane(
    config: &Config,
    identities: &IdentityManager,
    capture: Arc<dyn Kernel>,
    drain: Drain,
) -> Arc<Context> {
    let IdentityManager {
        provider,
        trust,
        identities,
        metrics,
        snapshot,
        ..
    } = identities;
    let tls = Tls::new(Arc::clone(provider), Arc::clone(trust), Arc::clone(identities));
    let pool = Pool::new(
        config.hbone.clone(),
        tls.clone(),
        Arc::clone(metrics),
        drain.clone(),
    );
    let access_log = access_log::Settings {
        connections: config.access_log.connections,
        requests: config.access_log.requests,
        sample: config.access_log.sample,
        format: config.log.format,
        threads: config.threads.workers,
    };
    Arc::new(Context {
        plans: Plans::new(Arc::clone(snapshot.backends())),
        upstreams: Upstreams::new(config.threads.workers, drain.clone()),
        mirrors: Arc::new(Semaphore::new(MAX_MIRRORS)),
        http: config.http.clone(),
        drain_deadline: config.drain.deadline,
        node: config.node.name.clone(),
        outbound: config.outbound.clone(),
        hbone: config.hbone.clone(),
        access_log: AccessLog::new(access_log),
        store: Arc::clone(snapshot),
        capture,
        direct: Arc::new(Direct::new([OUTBOUND_PORT, INBOUND_PORT, crate::hbone::PORT])),
        locals: Arc::new(Locals::default()),
        identities: Arc::clone(identities),
        tls,
        pool: Arc::new(pool),
        live: Arc::new(Live::default()),
        metrics: Arc::clone(metrics),
        connections: Arc::new(ConnectionMetrics::new(
            config.threads.workers,
            config.metrics.max_series,
        )),
        requests: Arc::new(RequestMetrics::new(
            config.threads.workers,
            config.metrics.max_series,
        )),
        drain,
    })
}

fn cgroup_mount() -> Result<PathBuf> {
    let hierarchy = Hierarchy::find().context("cannot read /proc/self/mountinfo")?;
    let hierarchy = hierarchy.ok_or_else(|| anyhow!("no cgroup v2 hierarchy is mounted"))?;
    Ok(hierarchy.mount)
}

fn unusable(key: &str, directory: &Path) -> String {
    format!("cannot use {}; the key {key} names it", directory.display())
}

/// Serves until the owner of `tasks` is dropped: also while connections drain.
async fn serve(tasks: &Tasks, name: &'static str, address: SocketAddr, router: Router) -> Result<()> {
    let server = HttpServer::bind(address, router).await.with_context(|| {
        format!("cannot open the {name} listener; the key {name}.address names its address")
    })?;
    tasks.spawn(name, server.serve(std::future::pending()));
    Ok(())
}

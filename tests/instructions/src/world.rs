//! The world of a case: one or two nodes' data planes in this process, a client workload, a Service with a route, and an
//! endpoint.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use mesh_model::{Change, Diff, ResourceName};
use mesh_node::app;
use mesh_node::capture::{CaptureError, Enrolment, Flow, Kernel};
use mesh_node::config::Config;
use mesh_node::control::Control;
use mesh_node::flow::context::Context;
use mesh_node::flow::{inbound, outbound};
use mesh_node::hbone;
use mesh_node::identity::authority::Authority;
use mesh_node::identity::manager::Manager;
use mesh_node::identity::tls::{Shown, provider};
use mesh_node::identity::vault::Vault;
use mesh_node::identity::verify::Trust;
use mesh_node::identity::{Material, Store as Identities};
use mesh_node::local::LocalWorkload;
use mesh_node::net::namespace::Namespace;
use mesh_node::state::Store;
use mesh_node::telemetry::metrics::Metrics;
use mesh_runtime::drain::{self, Trigger};
use mesh_runtime::tasks::{self, Tasks};
use mesh_runtime::{config, logging};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use self::resources::{CLIENT, NODES, SERVER, SERVICE};
use crate::peer::Others;

mod certificates;
mod resources;

/// What clients and servers speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Bytes that mean nothing to the mesh.
    Bytes,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// gRPC: one message there, one back.
    Grpc,
}

/// What is measured.
#[derive(Debug)]
pub(crate) struct Case {
    /// Its name in the budget.
    pub(crate) name: &'static str,
    /// What is spoken.
    pub(crate) protocol: Protocol,
    /// Whether the server is on another node. What both nodes execute is counted then.
    pub(crate) is_between_nodes: bool,
}

/// Everything that must stay while requests are under way.
pub(crate) struct World {
    _nodes: Vec<Node>,
}

/// A node's data plane.
struct Node {
    context: Arc<Context>,
    namespace: Arc<Namespace>,
    /// They accept.
    tasks: Tasks,
    _trigger: Trigger,
}

/// Says that every connection of the client wants to go to the Service.
#[derive(Debug)]
struct Captured(SocketAddr);

// === impl Case ===

impl Case {
    /// All of them.
    pub(crate) const ALL: [Case; 7] = [
        Case::new("http1-same-node", Protocol::Http1, false),
        Case::new("http1-between-nodes", Protocol::Http1, true),
        Case::new("http2-same-node", Protocol::Http2, false),
        Case::new("http2-between-nodes", Protocol::Http2, true),
        Case::new("grpc-between-nodes", Protocol::Grpc, true),
        Case::new("tcp-same-node", Protocol::Bytes, false),
        Case::new("tcp-between-nodes", Protocol::Bytes, true),
    ];

    const fn new(name: &'static str, protocol: Protocol, is_between_nodes: bool) -> Self {
        Self {
            name,
            protocol,
            is_between_nodes,
        }
    }
}

// === impl World ===

impl World {
    /// Opens it; the clients are connected, and have asked for nothing yet.
    pub(crate) async fn open(case: &Case) -> Result<(Self, Others)> {
        let folder = std::env::temp_dir().join(format!("mesh-instructions-{}", std::process::id()));
        let result = Self::open_in(&folder, case).await;
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        result
    }

    async fn open_in(folder: &Path, case: &Case) -> Result<(Self, Others)> {
        let address = IpAddr::V4(if case.is_between_nodes {
            loopback_of_ours()
        } else {
            Ipv4Addr::LOCALHOST
        });
        let (mut others, server) = Others::listen(case.protocol, SocketAddr::new(address, 0))?;
        let node = usize::from(case.is_between_nodes);
        let world = resources::world(case.protocol, server, NODES[node])?;
        let config = configuration(folder)?;
        logging::init(&config.log)?;
        let materials = certificates::make(&[CLIENT, SERVER])?;
        let mut nodes = Vec::new();
        for name in &NODES[..=node] {
            nodes.push(Node::new(&config, name, &world, &materials)?);
        }
        attach(&nodes[0], 1, CLIENT)?;
        attach(&nodes[node], 2, SERVER)?;
        if case.is_between_nodes {
            nodes[node].open_entrance(address).await?;
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        others.connect(listener.local_addr()?)?;
        nodes[0].take_in(listener);
        Ok((Self { _nodes: nodes }, others))
    }
}

/// An address of the loopback that no other such process has: a node's tunnels end at a port that is always the same.
fn loopback_of_ours() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | high, middle, low.clamp(1, 254))
}

/// The configuration of a node with everything on. Nothing of it that concerns files or the control plane is used.
fn configuration(folder: &Path) -> Result<Config> {
    std::fs::create_dir(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let shown = folder.display();
    let text = format!(
        "[node]\nname = \"{}\"\nstate-directory = \"{shown}\"\nruntime-directory = \"{shown}\"\n\
         [control]\naddress = \"localhost:15010\"\nroot-certificates = \"{shown}/roots\"\ntoken-file = \"{shown}/token\"\n\
         [threads]\nworkers = 1\n\
         [access-log]\nrequests = \"all\"\n",
        NODES[0]
    );
    let config: Config = config::parse(&folder.join("node.toml"), &text)?;
    config.check()?;
    Ok(config)
}

fn attach(node: &Node, slot: u32, name: &str) -> Result<()> {
    let name: ResourceName = name.parse()?;
    let snapshot = node.context.store.load();
    let workload = snapshot.workload(&name).context("the world has the workload")?;
    let local = LocalWorkload::new(
        slot,
        Arc::clone(workload),
        Arc::clone(&node.namespace),
        PathBuf::new(),
    );
    node.context.locals.insert(&Arc::new(local));
    Ok(())
}

// === impl Node ===

impl Node {
    fn new(config: &Config, name: &str, world: &[Change], materials: &certificates::Made) -> Result<Self> {
        let mut config = config.clone();
        config.node.name = mesh_model::NodeName::new(name)?;
        let store = Arc::new(Store::new());
        store.apply(Diff::from(world.to_vec()));
        let provider = provider();
        let trust = Trust::new(Arc::clone(&provider));
        trust.replace(&materials.trust).map_err(anyhow::Error::msg)?;
        let identities = Identities::new();
        for made in &materials.of {
            identities.insert(Material::new(
                made.identity.clone(),
                made.chain.clone(),
                made.key.clone(),
                materials.trust.signer,
                &provider,
            )?);
        }
        let control = Control::new(config.control.clone(), Arc::clone(&store));
        let mut registry = mesh_runtime::metrics::Metrics::new("mesh_node");
        let manager = Manager {
            node: config.node.name.clone(),
            snapshot: store,
            identities: Arc::new(identities),
            trust: Arc::new(trust),
            authority: Authority::new(control, Arc::clone(&provider)),
            vault: Vault::open(&config.node.runtime_directory)?,
            metrics: Arc::new(Metrics::register(registry.registry())),
            provider,
        };
        let (trigger, drain) = drain::channel();
        let captured = Arc::new(Captured(SERVICE));
        Ok(Self {
            context: app::data_plane(&config, &manager, captured, drain),
            namespace: Arc::new(Namespace::home()?),
            tasks: Tasks::new(),
            _trigger: trigger,
        })
    }

    /// Takes in the client's connections, as the listener for captured ones does.
    fn take_in(&self, listener: TcpListener) {
        let (context, namespace) = (Arc::clone(&self.context), Arc::clone(&self.namespace));
        self.tasks.spawn("accept outbound", async move {
            while let Ok((stream, source)) = listener.accept().await {
                let serving = outbound::serve(Arc::clone(&context), Arc::clone(&namespace), stream, source);
                tasks::spawn_guarded("outbound", context.drain.guard(), serving);
            }
        });
    }

    /// Takes in tunnels, as the listener for them does.
    async fn open_entrance(&self, address: IpAddr) -> Result<()> {
        let context = Arc::clone(&self.context);
        let identity = resources::identity(SERVER)?;
        let entrance = Arc::new(inbound::Listener {
            namespace: Arc::clone(&self.namespace),
            tls: context
                .tls
                .server(Shown::One(identity), Arc::clone(&context.locals) as _)?,
        });
        let address = SocketAddr::new(address, hbone::PORT);
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}, where tunnels end"))?;
        let places = Arc::new(Semaphore::new(1));
        self.tasks.spawn("accept tunnels", async move {
            while let Ok(client) = listener.accept().await {
                let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                    return;
                };
                let guard = context.drain.guard();
                let serving = inbound::serve(Arc::clone(&context), Arc::clone(&entrance), client, place);
                tasks::spawn_guarded("tunnel server", guard, serving);
            }
        });
        Ok(())
    }
}

// === impl Captured ===

impl Kernel for Captured {
    fn take_flow(&self, _netns_cookie: u64, _source: SocketAddr) -> Option<Flow> {
        Some(Flow {
            destination: self.0,
            slot: 1,
        })
    }

    fn enrol(&self, _workload: &Enrolment) -> Result<(), CaptureError> {
        Ok(())
    }

    fn release(&self, _cgroup: &Path) -> Result<(), CaptureError> {
        Ok(())
    }

    fn retain(&self, _cgroups: &[PathBuf]) -> Result<(), CaptureError> {
        Ok(())
    }

    fn counters(&self) -> Result<Vec<(&'static str, u64)>, CaptureError> {
        Ok(Vec::new())
    }
}

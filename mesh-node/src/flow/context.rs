//! What every connection needs: handles, made once and shared.

use std::sync::Arc;
use std::time::Duration;

use mesh_model::NodeName;
use mesh_runtime::drain::Drain;
use tokio::sync::Semaphore;

use super::direct::Direct;
use super::http::pool::Upstreams;
use super::live::Live;
use super::plan::Plans;
use crate::capture::Kernel;
use crate::config::{HboneConfig, HttpConfig, OutboundConfig};
use crate::hbone::pool::Pool;
use crate::identity::{Store as Identities, tls::Tls};
use crate::local::Locals;
use crate::state::Store;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::connections::ConnectionMetrics;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::requests::RequestMetrics;

/// The handles.
#[derive(Debug)]
pub struct Context {
    /// This node.
    pub node: NodeName,
    /// `[outbound]`.
    pub outbound: OutboundConfig,
    /// `[hbone]`.
    pub hbone: HboneConfig,
    /// One line for each connection.
    pub access_log: AccessLog,
    /// The snapshot.
    pub store: Arc<Store>,
    /// Where captured connections wanted to go, and who is captured.
    pub capture: Arc<dyn Kernel>,
    /// What goes past the proxy.
    pub direct: Arc<Direct>,
    /// The attached workloads.
    pub locals: Arc<Locals>,
    /// Certificates.
    pub identities: Arc<Identities>,
    /// TLS configurations.
    pub tls: Tls,
    /// Tunnels.
    pub pool: Arc<Pool>,
    /// Open connections.
    pub live: Arc<Live>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// What becomes of requests and connections to Services.
    pub plans: Plans,
    /// Connections to endpoints that speak HTTP.
    pub upstreams: Arc<Upstreams>,
    /// Places for copies of requests, in the whole node.
    pub mirrors: Arc<Semaphore>,
    /// `[http]`.
    pub http: HttpConfig,
    /// How long requests have to end when the node stops.
    pub drain_deadline: Duration,
    /// Metrics of connections.
    pub connections: Arc<ConnectionMetrics>,
    /// Metrics of requests.
    pub requests: Arc<RequestMetrics>,
    /// Stops when the node does; every connection holds a guard of it.
    pub drain: Drain,
}

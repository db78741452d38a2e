//! What every connection needs: handles, made once and shared.

use std::sync::Arc;

use mesh_model::NodeName;
use mesh_runtime::drain::Drain;

use super::live::Live;
use crate::capture::Capture;
use crate::config::{HboneConfig, OutboundConfig};
use crate::hbone::pool::Pool;
use crate::identity::{Store as Identities, tls::Tls};
use crate::local::Locals;
use crate::state::Store;
use crate::telemetry::access_log::AccessLog;
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
    /// The kernel's maps.
    pub capture: Arc<Capture>,
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
    /// Metrics of requests.
    pub requests: Arc<RequestMetrics>,
    /// Stops when the node does; every connection holds a guard of it.
    pub drain: Drain,
}

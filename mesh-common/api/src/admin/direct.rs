//! `GET /direct` of a node: what the kernel connects without the proxy.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// `GET /direct`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectStatus {
    /// Why nothing goes past the proxy, whatever is asked for.
    pub off: Option<String>,
    /// Every workload of this node with a destination within the node that it has connected to.
    pub pairs: Vec<DirectPair>,
}

/// One workload and one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectPair {
    /// The workload, `namespace/name`.
    pub workload: String,
    /// What it connects to.
    pub destination: SocketAddr,
    /// The Service there.
    pub service: Option<String>,
    /// Where its next connections go without the proxy.
    pub endpoints: Vec<SocketAddr>,
    /// Why they go to the proxy instead.
    pub withheld: Option<String>,
    /// Connections past the proxy that are open now.
    pub open_connections: usize,
}

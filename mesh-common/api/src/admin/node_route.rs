//! The JSON of a node's `GET /routes`: what the node does, as opposed to what mesh-control was told.

use serde::{Deserialize, Serialize};

use super::RuleBackendStatus;

/// One entry of a node's `GET /routes`: the rules in force at a port of a Service for some clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRoutes {
    /// The Service, `namespace/name`.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// The clients' namespace, when the rules are for those only; else they are for all that have none of their own.
    pub consumer: Option<String>,
    /// `HTTPRoute`, `GRPCRoute`, `TLSRoute` or `TCPRoute`.
    pub kind: String,
    /// The rules. Of several that match, the more specific match wins, then the earlier rule.
    pub rules: Vec<NodeRule>,
}

/// A rule in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRule {
    /// `namespace/route#rule`, as in metrics and logs.
    pub name: String,
    /// What it matches, a line for each match. For TLS: server names. Empty: everything.
    pub matches: Vec<String>,
    /// What is done to requests and answers, in words.
    pub filters: Vec<String>,
    /// Where requests go.
    pub backends: Vec<RuleBackendStatus>,
    /// Timeouts, retries, limits and faults, in words.
    pub policy: Vec<String>,
}

//! What mesh-control says of routes and traffic policies: whether they are in force, and why not.
//!
//! Conditions, their types and reasons are Gateway API's (v1.5, RouteStatus and GEP-713's PolicyStatus), so that who knows
//! them from Kubernetes reads them here.

use serde::{Deserialize, Serialize};

/// `GET /routes`: the state in force and, while the folder's last reading is refused, what that one would be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteReport {
    /// What nodes are told; absent before the first good reading.
    pub in_force: Option<RouteReading>,
    /// The last reading, when it was refused because of an error (see `GET /problems`). Resources that could not be read
    /// at all are missing in it.
    pub refused: Option<RouteReading>,
}

/// The routes and policies of one reading.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteReading {
    /// When it was read (RFC 3339).
    pub loaded_at: String,
    /// All routes, by kind and name.
    pub routes: Vec<RouteStatus>,
    /// All traffic policies, by name.
    pub policies: Vec<PolicyStatus>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteStatus {
    /// `HTTPRoute`, `GRPCRoute`, `TLSRoute` or `TCPRoute`.
    pub kind: String,
    /// `namespace/name`.
    pub name: String,
    /// Where it is written, as `file:line`.
    pub origin: String,
    /// The server names of a TLSRoute.
    pub hostnames: Vec<String>,
    /// One for each parent that is a Service.
    pub parents: Vec<ParentStatus>,
    /// Its rules, in the order of the manifest.
    pub rules: Vec<RuleStatus>,
}

/// A route at one parent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentStatus {
    /// The Service, as `namespace/name`.
    pub parent: String,
    /// The port, when the reference names one.
    pub port: Option<u16>,
    /// The port's name, when the reference names one.
    pub section_name: Option<String>,
    /// The Service's ports at which the route applies.
    pub ports: Vec<u16>,
    /// The clients' namespace, when it applies to those only (a consumer route).
    pub consumer: Option<String>,
    /// Who says so.
    pub controller: String,
    /// `Accepted` and `ResolvedRefs`.
    pub conditions: Vec<ConditionStatus>,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionStatus {
    /// What is judged, such as `Accepted`.
    pub r#type: String,
    /// `True` or `False`.
    pub status: String,
    /// Why, as a word.
    pub reason: String,
    /// Why, for people.
    pub message: String,
    /// The `metadata.generation` that was judged, when the manifest has one.
    pub observed_generation: Option<i64>,
}

/// A rule of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleStatus {
    /// Its name, or its place (from 0) when it has none; as in metrics and logs.
    pub name: String,
    /// What it matches, a line for each match, such as `GET /v2* x-user=a`.
    pub matches: Vec<String>,
    /// Where requests go.
    pub backends: Vec<RuleBackendStatus>,
}

/// A backend of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleBackendStatus {
    /// `namespace/name:port`, as far as the reference says.
    pub target: String,
    /// Its share is its weight by the sum of the weights.
    pub weight: u32,
    /// Why the reference does not resolve; its share is answered with an error.
    pub error: Option<String>,
}

/// A TrafficPolicy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// `namespace/name`.
    pub name: String,
    /// Where it is written, as `file:line`.
    pub origin: String,
    /// One for each target.
    pub targets: Vec<PolicyTargetStatus>,
}

/// A TrafficPolicy at one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyTargetStatus {
    /// The kind of the target, such as `Service`.
    pub kind: String,
    /// `namespace/name`.
    pub target: String,
    /// A Service's port by name, or a route's rule by name.
    pub section_name: Option<String>,
    /// Who says so.
    pub controller: String,
    /// `Accepted`.
    pub conditions: Vec<ConditionStatus>,
}

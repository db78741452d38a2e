//! What became of routes and traffic policies, as values: Gateway API's conditions.
//!
//! A route is in force as a whole or not at all: no rule is ever dropped alone. So a condition `PartiallyInvalid` never
//! occurs.

use mesh_model::{HttpMatch, ResourceName};

use super::{Origin, RouteKind};

/// The name under which this controller speaks (Gateway API, GatewayController).
pub const CONTROLLER: &str = "nodemesh.io/mesh-control";

/// The state of all routes and traffic policies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statuses {
    /// Routes, by kind and name.
    pub routes: Vec<RouteStatus>,
    /// Traffic policies, by name.
    pub policies: Vec<PolicyStatus>,
}

/// What became of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteStatus {
    /// Its kind.
    pub kind: RouteKind,
    /// Its name.
    pub name: ResourceName,
    /// Where it is written.
    pub origin: Origin,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// The server names of a TLSRoute.
    pub hostnames: Vec<String>,
    /// One for each parent that is a Service.
    pub parents: Vec<ParentStatus>,
    /// Its rules.
    pub rules: Vec<RuleStatus>,
}

/// What became of a route at one parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentStatus {
    /// The Service as `namespace/name`, whether there is one or not.
    pub service: String,
    /// The name of the port that the reference names.
    pub section: Option<String>,
    /// The number of the port that the reference names.
    pub port: Option<u16>,
    /// The ports at which the route applies.
    pub ports: Vec<u16>,
    /// The clients' namespace, for a consumer route.
    pub consumer: Option<String>,
    /// `Accepted` and `ResolvedRefs`.
    pub conditions: Vec<Condition>,
}

/// A rule of a route and its backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleStatus {
    /// Its name or its place.
    pub name: String,
    /// What it matches.
    pub matches: Vec<HttpMatch>,
    /// Where requests go.
    pub backends: Vec<BackendStatus>,
}

/// A backend of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendStatus {
    /// `namespace/name:port`, as it is written.
    pub target: String,
    /// Its share.
    pub weight: u32,
    /// Why it does not resolve.
    pub error: Option<String>,
}

/// What became of a TrafficPolicy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyStatus {
    /// Its name.
    pub name: ResourceName,
    /// Where it is written.
    pub origin: Origin,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// One for each target.
    pub targets: Vec<TargetStatus>,
}

/// What became of a TrafficPolicy at one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetStatus {
    /// The target's kind.
    pub kind: String,
    /// The target's name.
    pub name: String,
    /// A port or rule of it.
    pub section: Option<String>,
    /// Whether the policy is in force there.
    pub accepted: Condition,
}

/// A judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What is judged.
    pub kind: ConditionKind,
    /// Why. Says whether it is true as well.
    pub reason: Reason,
    /// Why, for people.
    pub message: String,
}

/// What is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConditionKind {
    /// Whether the resource is in force.
    Accepted,
    /// Whether all its references lead somewhere.
    ResolvedRefs,
}

/// The reasons of conditions (Gateway API v1.5, RouteConditionReason and PolicyConditionReason; `Conflicted` of a route
/// is GEP-1294's).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It is.
    Accepted,
    /// They do.
    ResolvedRefs,
    /// Something else goes before it.
    Conflicted,
    /// There is no such parent, or none of its ports is meant.
    NoMatchingParent,
    /// A value that can't be done here.
    UnsupportedValue,
    /// Filters that can't be combined.
    IncompatibleFilters,
    /// There is no such target.
    TargetNotFound,
    /// A backend is of a kind that is not known here.
    InvalidKind,
    /// There is no such backend.
    BackendNotFound,
    /// A backend does not speak what the route carries.
    UnsupportedProtocol,
}

// === impl Condition ===

impl Condition {
    /// Whether what is judged is so.
    pub fn is_true(&self) -> bool {
        matches!(self.reason, Reason::Accepted | Reason::ResolvedRefs)
    }
}

// === impl ConditionKind ===

impl ConditionKind {
    /// The condition's type.
    pub fn label(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::ResolvedRefs => "ResolvedRefs",
        }
    }
}

// === impl Reason ===

impl Reason {
    /// The reason as Gateway API writes it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::Conflicted => "Conflicted",
            Self::NoMatchingParent => "NoMatchingParent",
            Self::UnsupportedValue => "UnsupportedValue",
            Self::IncompatibleFilters => "IncompatibleFilters",
            Self::TargetNotFound => "TargetNotFound",
            Self::InvalidKind => "InvalidKind",
            Self::BackendNotFound => "BackendNotFound",
            Self::UnsupportedProtocol => "UnsupportedProtocol",
        }
    }
}

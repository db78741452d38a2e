//! Routes as they are written: each field checked by itself, references not yet resolved.

use mesh_model::{HttpMatch, ResourceName};

use super::RequestSettings;

/// A kind of route, in the order in which kinds win the port of a Service (Gateway API, GEP-1294).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteKind {
    /// `GRPCRoute`.
    Grpc,
    /// `HTTPRoute`.
    Http,
    /// `TLSRoute`.
    Tls,
    /// `TCPRoute`.
    Tcp,
}

/// When a resource was made, in nanoseconds since 1970. Who says nothing goes after those who do, so that a new file
/// takes nothing from what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Age {
    /// `metadata.creationTimestamp`.
    Created(i128),
    /// Nothing was said.
    Unknown,
}

/// A route of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its kind.
    pub kind: RouteKind,
    /// Its name.
    pub name: ResourceName,
    /// Its age, which decides ties.
    pub age: Age,
    /// `metadata.generation`, which its conditions name.
    pub generation: Option<i64>,
    /// Those of its parents that are Services.
    pub parents: Vec<ParentRef>,
    /// The server names of a TLSRoute; empty: any, and connections without one. Empty for the other kinds.
    pub hostnames: Vec<String>,
    /// Its rules.
    pub rules: Vec<Rule>,
    /// What is valid Gateway API and can't be done here. With any of these the route has no effect.
    pub refusals: Vec<Refusal>,
}

/// What can't be done here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Whether it is the combination of filters that can't be done, and not a value.
    pub is_of_filters: bool,
    /// The field.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

/// A parent that is a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentRef {
    /// Where it is in the manifest, such as `spec.parentRefs[0]`.
    pub field: String,
    /// The group, which a reference to a Service must say is empty.
    pub group: String,
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub name: String,
    /// The name of a port.
    pub section: Option<String>,
    /// The number of a port.
    pub port: Option<u16>,
}

/// A rule of any kind of route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub name: Option<String>,
    /// What it matches; never empty for HTTPRoute and GRPCRoute, always for the other kinds.
    pub matches: Vec<HttpMatch>,
    /// In the order of the manifest.
    pub filters: Vec<Filter>,
    /// Where requests or connections go.
    pub backends: Vec<WeightedRef>,
    /// What its own stanzas set.
    pub settings: RequestSettings,
}

/// A filter whose reference, if it has one, is not yet resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// One without a reference.
    Plain(mesh_model::Filter),
    /// Sends a copy of the request somewhere else.
    Mirror {
        /// Where to.
        backend: BackendRef,
        /// How many of `denominator` requests are copied.
        numerator: u32,
        /// Not 0.
        denominator: u32,
    },
}

/// A backend and its share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightedRef {
    /// Where to.
    pub backend: BackendRef,
    /// Its share is its weight by the sum of all weights.
    pub weight: u32,
    /// Its own filters.
    pub filters: Vec<Filter>,
}

/// A reference to a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendRef {
    /// Where it is in the manifest, such as `spec.rules[0].backendRefs[0]`.
    pub field: String,
    /// Its group; a Service's is empty.
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its port; never absent for a Service.
    pub port: Option<u16>,
}

// === impl RouteKind ===

impl RouteKind {
    /// The name of the kind.
    pub fn label(self) -> &'static str {
        match self {
            Self::Grpc => "GRPCRoute",
            Self::Http => "HTTPRoute",
            Self::Tls => "TLSRoute",
            Self::Tcp => "TCPRoute",
        }
    }
}

// === impl Rule ===

impl Rule {
    /// How the rule is called in names: its own, or its place.
    pub fn label(&self, place: usize) -> String {
        self.name.clone().unwrap_or_else(|| place.to_string())
    }
}

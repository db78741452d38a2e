//! Routes: what becomes of a request, or a connection, to a Service.
//!
//! The control plane resolves Gateway API's routes (parents, grants, backends, conflicts) into one [`ServiceRoutes`]
//! for each Service; a node compiles it into a table and decides nothing of its own. Semantics: Gateway API v1.5,
//! "GAMMA" (a Service as parent).

mod text;

use std::sync::Arc;

use crate::{RequestPolicy, ResourceName};

/// All routes whose parent is one Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRoutes {
    /// The Service.
    pub service: ResourceName,
    /// One for each port and kind of client. For a client in a namespace that has a consumer group of its own at the
    /// port, that group alone applies; for every other client the producer's group (`consumer` is `None`).
    pub groups: Vec<RouteGroup>,
}

/// The routes at one port for one kind of client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteGroup {
    /// The Service's port.
    pub port: u16,
    /// The clients' namespace, for consumer routes (Gateway API, GEP-1426: routes of another namespace than their
    /// parent's apply to clients in their own).
    pub consumer: Option<String>,
    /// The rules.
    pub rules: RouteRules,
}

/// Rules of one kind. A Service's port has routes of one kind only: GRPCRoute goes before HTTPRoute, TLSRoute,
/// TCPRoute (GEP-1294).
///
/// Earlier rules win ties: they are in order of their route's age, then its namespace and name, then their place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteRules {
    /// Of HTTPRoutes.
    Http(Vec<HttpRule>),
    /// Of GRPCRoutes.
    Grpc(Vec<HttpRule>),
    /// Of TLSRoutes.
    Tls(Vec<TlsRule>),
    /// Of TCPRoutes; the first one is used.
    Tcp(Vec<TcpRule>),
}

/// Which rule of which route something comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RuleName {
    /// The route.
    pub route: ResourceName,
    /// The rule's name, or its place (from 0) when it has none.
    pub rule: String,
}

/// A rule of an HTTPRoute or GRPCRoute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRule {
    /// Where it comes from.
    pub name: Arc<RuleName>,
    /// The rule is for requests that any of these matches. Never empty: a rule without matches has one that matches
    /// everything.
    pub matches: Vec<HttpMatch>,
    /// Applied in this order.
    pub filters: Vec<Filter>,
    /// Where requests go. Empty, or with a sum of weights of 0: every request that no filter answers is answered 500.
    pub backends: Vec<WeightedBackend>,
    /// Timeouts, retries, limits and faults: the route's own, else its TrafficPolicy's, else the Service's.
    pub policy: RequestPolicy,
}

/// What a request must be like: all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpMatch {
    /// Its path.
    pub path: PathMatch,
    /// Its method, exactly.
    pub method: Option<String>,
    /// Headers that it must have.
    pub headers: Vec<ValueMatch>,
    /// Query parameters that it must have. Of a parameter that occurs more than once the first value counts.
    pub query: Vec<ValueMatch>,
}

/// What a request's path must be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// Exactly this.
    Exact(String),
    /// This, segment by segment: `/foo` is a prefix of `/foo` and `/foo/bar`, not of `/foobar`. `/` matches everything.
    Prefix(String),
    /// The whole path matches this regular expression (the `regex` crate's dialect, RE2-like).
    Regex(String),
    /// A gRPC method: the path is `/service/method`. Both absent: every path of this form.
    Grpc {
        /// The service, with its package.
        service: Option<TextMatch>,
        /// The method.
        method: Option<TextMatch>,
    },
}

/// A header or query parameter and what its value must be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueMatch {
    /// The name; of a header, in lower case.
    pub name: String,
    /// The value.
    pub value: TextMatch,
}

/// What a text must be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextMatch {
    /// Exactly this.
    Exact(String),
    /// All of it matches this regular expression.
    Regex(String),
}

/// A backend and its share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightedBackend {
    /// Its share is its weight by the sum of all weights. 0: none.
    pub weight: u32,
    /// Where to.
    pub target: BackendTarget,
    /// Applied after the rule's, to requests that go here.
    pub filters: Vec<Filter>,
}

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendTarget {
    /// A Service's port. The Service may have no endpoints.
    Service {
        /// The Service.
        service: ResourceName,
        /// Its port.
        port: u16,
    },
    /// Nowhere: the reference does not resolve. Its share is answered 500 (gRPC: `UNAVAILABLE`; TCP: reset).
    Invalid {
        /// Why, for people.
        reason: String,
    },
}

/// What is done to a request, its answer, or instead of both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Changes the request's headers.
    RequestHeaders(HeaderEdits),
    /// Changes the answer's headers.
    ResponseHeaders(HeaderEdits),
    /// Answers with a redirect.
    Redirect(Redirect),
    /// Changes the host and path that the backend sees.
    Rewrite(Rewrite),
    /// Sends a copy of the request somewhere else.
    Mirror(Mirror),
    /// Answers preflight requests and adds CORS headers (Fetch standard §3.2).
    Cors(Cors),
}

/// Changes to headers; in this order: set, add, remove. Names are in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Replaces all values.
    pub set: Vec<(String, String)>,
    /// Adds a value to those that are there.
    pub add: Vec<(String, String)>,
    /// Removes all values.
    pub remove: Vec<String>,
}

/// A redirect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// `http` or `https`; absent: the request's.
    pub scheme: Option<String>,
    /// Absent: the request's.
    pub hostname: Option<String>,
    /// Absent: the request's.
    pub path: Option<PathEdit>,
    /// Absent: the well-known port of `scheme` if there is one, else the port that was asked for.
    pub port: Option<u16>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// What the backend sees instead of what the client wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// The Host, or `:authority`.
    pub hostname: Option<String>,
    /// The path.
    pub path: Option<PathEdit>,
}

/// A change of a path. The query stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathEdit {
    /// The whole path becomes this.
    Full(String),
    /// The part that the rule's prefix matched becomes this (HTTPPathModifier, ReplacePrefixMatch).
    Prefix(String),
}

/// Where copies of requests go. Their answers are thrown away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Where to; copies for an invalid target go nowhere.
    pub target: BackendTarget,
    /// How many of `denominator` requests are copied.
    pub numerator: u32,
    /// Not 0.
    pub denominator: u32,
}

/// Who may call from a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Origins: exact, `*`, or with `*` as the leading labels of the host, such as `https://*.example.com`.
    pub allow_origins: Vec<String>,
    /// Whether credentials may be sent.
    pub allow_credentials: bool,
    /// Methods; `*` is any.
    pub allow_methods: Vec<String>,
    /// Request headers; `*` is any.
    pub allow_headers: Vec<String>,
    /// Response headers that scripts may read; `*` is any.
    pub expose_headers: Vec<String>,
    /// How long a preflight answer may be kept, in seconds.
    pub max_age: u32,
}

/// A rule of a TLSRoute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsRule {
    /// Where it comes from.
    pub name: Arc<RuleName>,
    /// Server names: exact, or with `*.` for one or more leading labels. Empty: any, and connections without one.
    pub server_names: Vec<String>,
    /// Where connections go.
    pub backends: Vec<WeightedBackend>,
}

/// A rule of a TCPRoute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpRule {
    /// Where it comes from.
    pub name: Arc<RuleName>,
    /// Where connections go.
    pub backends: Vec<WeightedBackend>,
}

// === impl ServiceRoutes ===

impl ServiceRoutes {
    /// The group for a client's namespace at a port; `None` when no route applies and requests simply go to the Service.
    pub fn group(&self, port: u16, client_namespace: &str) -> Option<&RouteGroup> {
        let at_port = || self.groups.iter().filter(|group| group.port == port);
        at_port()
            .find(|group| group.consumer.as_deref() == Some(client_namespace))
            .or_else(|| at_port().find(|group| group.consumer.is_none()))
    }

    /// Every target that requests, connections or copies of requests may go to.
    pub fn targets(&self) -> impl Iterator<Item = &BackendTarget> {
        self.groups.iter().flat_map(|group| group.rules.targets())
    }
}

// === impl RouteRules ===

impl RouteRules {
    fn targets(&self) -> Box<dyn Iterator<Item = &BackendTarget> + '_> {
        match self {
            Self::Http(rules) | Self::Grpc(rules) => Box::new(rules.iter().flat_map(|rule| {
                let backends = rule.backends.iter().flat_map(WeightedBackend::targets);
                backends.chain(rule.filters.iter().filter_map(Filter::target))
            })),
            Self::Tls(rules) => Box::new(
                rules
                    .iter()
                    .flat_map(|rule| rule.backends.iter().map(|b| &b.target)),
            ),
            Self::Tcp(rules) => Box::new(
                rules
                    .iter()
                    .flat_map(|rule| rule.backends.iter().map(|b| &b.target)),
            ),
        }
    }
}

// === impl WeightedBackend ===

impl WeightedBackend {
    fn targets(&self) -> impl Iterator<Item = &BackendTarget> {
        std::iter::once(&self.target).chain(self.filters.iter().filter_map(Filter::target))
    }
}

// === impl Filter ===

impl Filter {
    fn target(&self) -> Option<&BackendTarget> {
        match self {
            Self::Mirror(mirror) => Some(&mirror.target),
            _ => None,
        }
    }
}

// === impl HttpMatch ===

impl HttpMatch {
    /// Matches every request.
    pub fn any() -> Self {
        Self {
            path: PathMatch::Prefix("/".to_owned()),
            method: None,
            headers: Vec::new(),
            query: Vec::new(),
        }
    }
}

impl std::fmt::Display for RuleName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}#{}", self.route, self.rule)
    }
}

//! One stream's state: what the node subscribes to, what it has, and what it is told next.
//!
//! Pure: messages, catalogs and the time go in, responses come out. For each type at most one response waits for its
//! answer; whatever changes meanwhile goes into the next one. A node that refuses a response keeps what it had, and
//! is told again only when the resources change. The queue to the network therefore never holds more than one
//! response a type.
//!
//! A node is never told of an endpoint whose workload it does not know, for it could not verify who is there: new
//! workloads go before the endpoints that name them, and old ones after the endpoints that did. Likewise a Service is
//! never there without its endpoints.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_api::wire::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_api::{EncodedResource, ResourceType, WILDCARD};
use mesh_model::NodeName;

use super::catalog::Catalog;

/// How long a node may take to answer a response. It only has to decode and store: one that takes longer hangs.
pub(super) const ANSWER_DEADLINE: Duration = Duration::from_mins(1);
/// Bytes of resources in a response, unless a single one is larger. gRPC's default limit for a message is 4 MiB.
const MAX_RESPONSE_BYTES: usize = 1024 * 1024;
/// Resources and removals in a response.
const MAX_RESPONSE_NAMES: usize = 500;
/// Names that one node may subscribe to by name, of a type.
const MAX_NAMES: usize = 100_000;
/// Longest text of a refusal that is repeated in the log.
const MAX_DETAIL: usize = 500;
/// The order in which types are sent: what others refer to comes first.
const ORDER: [ResourceType; ResourceType::ALL.len()] = [
    ResourceType::TrustBundle,
    ResourceType::Workload,
    ResourceType::Endpoints,
    ResourceType::Service,
    ResourceType::Routes,
];
/// The name under which the version of an absent resource is kept: a digest is never empty.
const ABSENT: &str = "";

/// The state of a stream.
#[derive(Debug)]
pub(super) struct Session {
    node: NodeName,
    types: [Subscription; ResourceType::ALL.len()],
    last_nonce: u64,
}

/// What a message meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Received {
    /// A subscription, or a change of one.
    Subscribed(ResourceType),
    /// The node took a response.
    Acknowledged(ResourceType),
    /// The node refused a response.
    Refused(ResourceType, String),
    /// An answer to something that does not wait for one.
    Stale,
    /// A type that this control plane does not know.
    UnknownType(String),
}

/// Why a stream ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    /// The node's name is not the token's.
    #[error(
        "the request says that it comes from node '{0}', and the join token belongs to node '{1}'; correct node.name or control.token-file there"
    )]
    Misnamed(String, NodeName),
    /// Too many names.
    #[error(
        "more than {} resources of a type are subscribed to by name; subscribe to '*' instead",
        MAX_NAMES
    )]
    TooManyNames,
    /// A response was not answered.
    #[error("a response was not answered within {} s", ANSWER_DEADLINE.as_secs())]
    Slow,
}

/// What a node wants and has of one type.
#[derive(Debug, Default)]
struct Subscription {
    is_active: bool,
    is_wildcard: bool,
    names: BTreeSet<Arc<str>>,
    /// The version that the node has of each resource, as far as it was sent or said.
    known: HashMap<Arc<str>, Arc<str>>,
    pending: Pending,
    /// Whether the node waits for a response even if nothing differs from what it has.
    is_due: bool,
    generation: u64,
    waiting: Option<Waiting>,
}

/// What may have to be sent.
#[derive(Debug, Default)]
enum Pending {
    /// Everything subscribed to has to be compared. The node gets a response even if nothing differs: it waits to
    /// hear that it has everything.
    #[default]
    All,
    /// These have to be compared.
    Names(BTreeSet<Arc<str>>),
}

/// A response that waits for its answer.
#[derive(Debug)]
struct Waiting {
    nonce: String,
    since: Instant,
}

// === impl Session ===

impl Session {
    /// A new stream of a node.
    pub(super) fn new(node: NodeName) -> Self {
        Self {
            node,
            types: Default::default(),
            last_nonce: 0,
        }
    }

    /// Takes a message.
    pub(super) fn receive(&mut self, request: DeltaDiscoveryRequest) -> Result<Received, Violation> {
        if let Some(node) = request.node.as_ref().filter(|node| !node.id.is_empty())
            && node.id != self.node.as_str()
        {
            return Err(Violation::Misnamed(node.id.clone(), self.node.clone()));
        }
        let Some(resource_type) = ResourceType::from_type_url(&request.type_url) else {
            return Ok(Received::UnknownType(request.type_url));
        };
        let subscription = self.of_type(resource_type);
        let answer = subscription.answer(&request);
        let is_changed = subscription.subscribe(request)?;
        Ok(match answer {
            Some(Answer::Refused(detail)) => Received::Refused(resource_type, detail),
            Some(Answer::Acknowledged) => Received::Acknowledged(resource_type),
            None if is_changed => Received::Subscribed(resource_type),
            None => Received::Stale,
        })
    }

    /// The next response that may be sent, if there is one. To be called until there is none, after each message and
    /// each change of the catalog.
    pub(super) fn next_response(
        &mut self,
        catalog: &Catalog,
        now: Instant,
    ) -> Option<DeltaDiscoveryResponse> {
        let node = self.node.clone();
        for resource_type in ORDER {
            self.of_type(resource_type).catch_up(resource_type, catalog);
        }
        for resource_type in ORDER {
            let view = View {
                resource_type,
                catalog,
                node: &node,
                is_holding_removals: match resource_type {
                    ResourceType::Workload => self.has_unsent(ResourceType::Endpoints, catalog, Change::Any),
                    ResourceType::Endpoints => self.has_unsent(ResourceType::Service, catalog, Change::Any),
                    ResourceType::Service => self.has_unsent(ResourceType::Routes, catalog, Change::Any),
                    ResourceType::TrustBundle | ResourceType::Routes => false,
                },
            };
            let must_wait = match resource_type {
                ResourceType::Endpoints => self.has_unsent(ResourceType::Workload, catalog, Change::Upsert),
                ResourceType::Service => self.has_unsent(ResourceType::Endpoints, catalog, Change::Upsert),
                ResourceType::Routes => self.has_unsent(ResourceType::Service, catalog, Change::Upsert),
                ResourceType::TrustBundle | ResourceType::Workload => false,
            };
            if must_wait {
                continue;
            }
            let nonce = self.last_nonce + 1;
            let subscription = self.of_type(resource_type);
            if let Some(mut response) = subscription.next_response(&view) {
                response.nonce = nonce.to_string();
                subscription.waiting = Some(Waiting {
                    nonce: response.nonce.clone(),
                    since: now,
                });
                self.last_nonce = nonce;
                return Some(response);
            }
        }
        None
    }

    /// Whether something of a type differs from what the node has, and can't be sent yet.
    fn has_unsent(&mut self, resource_type: ResourceType, catalog: &Catalog, change: Change) -> bool {
        let node = self.node.clone();
        let view = View {
            resource_type,
            catalog,
            node: &node,
            is_holding_removals: false,
        };
        self.of_type(resource_type).has_unsent(&view, change)
    }

    /// When the stream ends unless an answer comes before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let waiting = self
            .types
            .iter()
            .filter_map(|subscription| subscription.waiting.as_ref());
        waiting.map(|waiting| waiting.since + ANSWER_DEADLINE).min()
    }

    fn of_type(&mut self, resource_type: ResourceType) -> &mut Subscription {
        let [trust, workloads, services, endpoints, routes] = &mut self.types;
        match resource_type {
            ResourceType::TrustBundle => trust,
            ResourceType::Workload => workloads,
            ResourceType::Service => services,
            ResourceType::Endpoints => endpoints,
            ResourceType::Routes => routes,
        }
    }
}

/// The resources of a type, as a node sees them.
struct View<'a> {
    resource_type: ResourceType,
    catalog: &'a Catalog,
    node: &'a NodeName,
    /// Whether removals wait: something that is not sent yet takes the last references away.
    is_holding_removals: bool,
}

/// Which changes are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Every one.
    Any,
    /// Those that add or replace.
    Upsert,
}

/// What a message says of a response.
enum Answer {
    Acknowledged,
    Refused(String),
}

// === impl Subscription ===

impl Subscription {
    /// The answer to the response that waits for one. Any other nonce is one of the past, and says nothing.
    fn answer(&mut self, request: &DeltaDiscoveryRequest) -> Option<Answer> {
        let waiting = self.waiting.as_ref()?;
        if request.response_nonce.is_empty() || waiting.nonce != request.response_nonce {
            return None;
        }
        self.waiting = None;
        Some(match &request.error_detail {
            None => Answer::Acknowledged,
            Some(status) => Answer::Refused(status.message.chars().take(MAX_DETAIL).collect()),
        })
    }

    /// Takes over changes of the subscription, and returns whether there are any.
    fn subscribe(&mut self, request: DeltaDiscoveryRequest) -> Result<bool, Violation> {
        let is_new = !self.is_active;
        let is_changing =
            !request.resource_names_subscribe.is_empty() || !request.resource_names_unsubscribe.is_empty();
        if !is_new && !is_changing {
            return Ok(false);
        }
        if is_new {
            self.is_active = true;
            // Without any name the first request of a type subscribes to everything (xDS protocol, "How the client
            // specifies what resources to return").
            self.is_wildcard = request.resource_names_subscribe.is_empty();
            let known = request.initial_resource_versions.into_iter();
            self.known = known
                .map(|(name, version)| (name.into(), version.into()))
                .collect();
        }
        for name in request.resource_names_subscribe {
            if name == WILDCARD {
                self.is_wildcard = true;
                self.pending = Pending::All;
                continue;
            }
            let name: Arc<str> = name.into();
            // Whoever subscribes again wants to hear again (xDS protocol, "Subscribing to resources").
            if !is_new {
                self.known.remove(&name);
            }
            self.names.insert(Arc::clone(&name));
            self.pending.add(name);
        }
        for name in request.resource_names_unsubscribe {
            if name == WILDCARD {
                self.is_wildcard = false;
                self.known.retain(|name, _| self.names.contains(name));
            } else {
                self.names.remove(name.as_str());
                if !self.is_wildcard {
                    self.known.remove(name.as_str());
                }
            }
        }
        if self.names.len() > MAX_NAMES {
            Err(Violation::TooManyNames)
        } else {
            Ok(true)
        }
    }

    /// Compares what may have changed with what the node has.
    fn next_response(&mut self, view: &View<'_>) -> Option<DeltaDiscoveryResponse> {
        if !self.is_active || self.waiting.is_some() {
            return None;
        }
        let Pending::Names(names) = &mut self.pending else {
            return None;
        };
        let mut response = DeltaDiscoveryResponse {
            type_url: view.resource_type.type_url().to_owned(),
            ..DeltaDiscoveryResponse::default()
        };
        let mut held = BTreeSet::new();
        let (mut bytes, mut count) = (0, 0);
        while count < MAX_RESPONSE_NAMES
            && let Some(name) = names.pop_first()
        {
            if !self.is_wildcard && !self.names.contains(&name) {
                continue;
            }
            let current = view.get(&name);
            let version = current.map_or(ABSENT, |resource| resource.version.as_str());
            if self.known.get(&name).is_some_and(|known| **known == *version) {
                continue;
            }
            let is_named = self.names.contains(&name);
            match current {
                Some(resource) if count > 0 && bytes + resource.len() > MAX_RESPONSE_BYTES => {
                    names.insert(name);
                    break;
                }
                Some(resource) => {
                    bytes += resource.len();
                    response.resources.push(resource.to_wire());
                    self.known.insert(name, version.into());
                }
                // A node with a wildcard never had it: there is nothing to take away.
                None if !is_named && !self.known.contains_key(&name) => continue,
                None if view.is_holding_removals && self.known.contains_key(&name) => {
                    held.insert(name);
                    continue;
                }
                None => {
                    response.removed_resources.push(name.to_string());
                    self.known.remove(&name);
                    if is_named {
                        self.known.insert(name, ABSENT.into());
                    }
                }
            }
            count += 1;
        }
        names.append(&mut held);
        if names.is_empty() {
            // Only the last of several responses carries it: the node has everything then.
            response.system_version_info = view.catalog.generation().to_string();
        }
        if count == 0 && !self.is_due {
            return None;
        }
        self.is_due = false;
        Some(response)
    }

    /// Whether a change of this kind is left to send.
    fn has_unsent(&self, view: &View<'_>, change: Change) -> bool {
        let Pending::Names(names) = &self.pending else {
            return self.is_active;
        };
        self.is_active
            && names
                .iter()
                .filter(|name| self.is_wildcard || self.names.contains(*name))
                .any(|name| {
                    let known = self.known.get(name).map(AsRef::as_ref);
                    match view.get(name) {
                        Some(resource) => known != Some(resource.version.as_str()),
                        None => change == Change::Any && known.is_some_and(|version| version != ABSENT),
                    }
                })
    }

    /// Turns what changed since the last look into names to compare.
    fn catch_up(&mut self, resource_type: ResourceType, catalog: &Catalog) {
        if !self.is_active {
            return;
        }
        let since = std::mem::replace(&mut self.generation, catalog.generation());
        self.is_due |= matches!(self.pending, Pending::All);
        if let Pending::Names(names) = &mut self.pending
            && let Some(changed) = catalog.changed_since(since, resource_type)
        {
            names.extend(changed.cloned());
        } else {
            self.pending = Pending::Names(self.everything(resource_type, catalog));
        }
    }

    /// All names that may differ: what there is, what the node has, what it asks for.
    fn everything(&self, resource_type: ResourceType, catalog: &Catalog) -> BTreeSet<Arc<str>> {
        let mut names: BTreeSet<Arc<str>> = self.known.keys().chain(&self.names).cloned().collect();
        if self.is_wildcard {
            names.extend(catalog.names(resource_type).cloned());
        }
        names
    }
}

// === impl View ===

impl<'a> View<'a> {
    fn get(&self, name: &str) -> Option<&'a Arc<EncodedResource>> {
        self.catalog.get(self.resource_type, name, self.node)
    }
}

// === impl Pending ===

impl Pending {
    fn add(&mut self, name: Arc<str>) {
        if let Self::Names(names) = self {
            names.insert(name);
        }
    }
}

#[cfg(test)]
mod tests;

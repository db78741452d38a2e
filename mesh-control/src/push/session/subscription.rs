//! What a node wants and has of one type, and the response that brings it nearer to what there is.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use mesh_api::wire::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_api::{EncodedResource, ResourceType, WILDCARD};
use mesh_model::NodeName;

use super::order::Gate;
use super::{MAX_DETAIL, MAX_NAMES, MAX_RESPONSE_BYTES, MAX_RESPONSE_NAMES, Violation};
use crate::push::catalog::Catalog;

/// The name under which the version of an absent resource is kept: a digest is never empty.
const ABSENT: &str = "";

/// What a node wants and has of one type.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    is_active: bool,
    is_wildcard: bool,
    names: BTreeSet<Arc<str>>,
    /// The version that the node has of each resource, as far as it was sent or said.
    known: HashMap<Arc<str>, Arc<str>>,
    pending: Pending,
    /// Whether the node waits to hear that it has everything, even if nothing differs from what it has.
    is_due: bool,
    generation: u64,
    pub(super) waiting: Option<Waiting>,
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
pub(super) struct Waiting {
    pub(super) nonce: String,
    pub(super) since: Instant,
}

/// The subscriptions of a stream.
#[derive(Debug, Default)]
pub(super) struct Types([Subscription; ResourceType::ALL.len()]);

/// The resources of a type, as a node sees them.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) resource_type: ResourceType,
    pub(super) catalog: &'a Catalog,
    pub(super) node: &'a NodeName,
}

/// How a resource differs from what the node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It is new or another one.
    Upsert,
    /// It is gone.
    Removal,
}

/// What a message says of a response.
pub(super) enum Answer {
    Acknowledged,
    Refused(String),
}

// === impl Types ===

impl Types {
    pub(super) fn of(&self, resource_type: ResourceType) -> &Subscription {
        let [trust, workloads, services, endpoints, routes] = &self.0;
        match resource_type {
            ResourceType::TrustBundle => trust,
            ResourceType::Workload => workloads,
            ResourceType::Service => services,
            ResourceType::Endpoints => endpoints,
            ResourceType::Routes => routes,
        }
    }

    pub(super) fn of_mut(&mut self, resource_type: ResourceType) -> &mut Subscription {
        let [trust, workloads, services, endpoints, routes] = &mut self.0;
        match resource_type {
            ResourceType::TrustBundle => trust,
            ResourceType::Workload => workloads,
            ResourceType::Service => services,
            ResourceType::Endpoints => endpoints,
            ResourceType::Routes => routes,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Subscription> {
        self.0.iter()
    }
}

// === impl Subscription ===

impl Subscription {
    /// The answer to the response that waits for one. Any other nonce is one of the past, and says nothing.
    pub(super) fn answer(&mut self, request: &DeltaDiscoveryRequest) -> Option<Answer> {
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
    pub(super) fn subscribe(&mut self, request: DeltaDiscoveryRequest) -> Result<bool, Violation> {
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

    /// Compares what may have changed with what the node has; leaves for later what the gate holds.
    pub(super) fn next_response(&mut self, view: View<'_>, gate: &Gate) -> Option<DeltaDiscoveryResponse> {
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
                Some(_) if gate.holds(&name, Change::Upsert) => {
                    held.insert(name);
                    continue;
                }
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
                None if self.known.contains_key(&name) && gate.holds(&name, Change::Removal) => {
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
        if count == 0 && !(self.is_due && names.is_empty()) {
            return None;
        }
        self.is_due = !names.is_empty();
        Some(response)
    }

    /// What is left to send, and how it differs. Nothing before [`Self::catch_up`].
    pub(super) fn unsent<'a>(&'a self, view: View<'a>) -> impl Iterator<Item = (&'a Arc<str>, Change)> {
        let names = match &self.pending {
            Pending::Names(names) if self.is_active => Some(names),
            _ => None,
        };
        names
            .into_iter()
            .flatten()
            .filter_map(move |name| Some((name, self.change_of(name, view)?)))
    }

    /// How a resource differs from what the node has; `None` when it does not, or is not asked for.
    pub(super) fn change_of(&self, name: &str, view: View<'_>) -> Option<Change> {
        if !self.is_active || !(self.is_wildcard || self.names.contains(name)) {
            return None;
        }
        let known = self.known.get(name).map(AsRef::as_ref);
        match view.get(name) {
            Some(resource) => (known != Some(resource.version.as_str())).then_some(Change::Upsert),
            None => known
                .is_some_and(|version| version != ABSENT)
                .then_some(Change::Removal),
        }
    }

    /// Whether the node has a resource, in whatever version.
    pub(super) fn has(&self, name: &str) -> bool {
        self.known.get(name).is_some_and(|version| **version != *ABSENT)
    }

    /// Turns what changed since the last look into names to compare.
    pub(super) fn catch_up(&mut self, resource_type: ResourceType, catalog: &Catalog) {
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

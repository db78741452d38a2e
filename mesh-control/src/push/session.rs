//! One stream's state: what the node subscribes to, what it has, and what it is told next.
//!
//! Pure: messages, catalogs and the time go in, responses come out. For each type at most one response waits for its
//! answer; whatever changes meanwhile goes into the next one. A node that refuses a response keeps what it had, and
//! is told again only when the resources change. The queue to the network therefore never holds more than one
//! response a type.
//!
//! A node is never told of an endpoint whose workload it does not know, for it could not verify who is there. Likewise
//! a Service is never there without its endpoints, nor a route without the Services that it sends requests to:
//! [`order`].

mod order;
mod subscription;

use std::time::{Duration, Instant};

use mesh_api::ResourceType;
use mesh_api::wire::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_model::NodeName;

use self::order::{Gate, ORDER};
use self::subscription::{Answer, Types, View, Waiting};
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
/// The state of a stream.
#[derive(Debug)]
pub(super) struct Session {
    node: NodeName,
    types: Types,
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

// === impl Session ===

impl Session {
    /// A new stream of a node.
    pub(super) fn new(node: NodeName) -> Self {
        Self {
            node,
            types: Types::default(),
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
        let subscription = self.types.of_mut(resource_type);
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
        for resource_type in ORDER {
            self.types.of_mut(resource_type).catch_up(resource_type, catalog);
        }
        for resource_type in ORDER {
            let gate = Gate::of(resource_type, &self.types, catalog, &self.node);
            if gate.is_shut {
                continue;
            }
            let view = View {
                resource_type,
                catalog,
                node: &self.node,
            };
            let subscription = self.types.of_mut(resource_type);
            if let Some(mut response) = subscription.next_response(view, &gate) {
                self.last_nonce += 1;
                response.nonce = self.last_nonce.to_string();
                subscription.waiting = Some(Waiting {
                    nonce: response.nonce.clone(),
                    since: now,
                });
                return Some(response);
            }
        }
        None
    }

    /// When the stream ends unless an answer comes before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let waiting = self
            .types
            .iter()
            .filter_map(|subscription| subscription.waiting.as_ref());
        waiting.map(|waiting| waiting.since + ANSWER_DEADLINE).min()
    }
}

#[cfg(test)]
mod tests;

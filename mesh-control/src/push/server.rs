//! The discovery service on the network: a task for each stream, between the node, the session and the catalog.

use std::sync::Arc;
use std::time::Instant;

use mesh_api::ResourceType;
use mesh_api::wire::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryService;
use mesh_api::wire::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_model::NodeName;
use mesh_runtime::drain::Drain;
use mesh_runtime::tasks;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::catalog::Catalog;
use super::register::{Place, Register};
use super::session::{Received, Session, Violation};
use crate::attest::Caller;
use crate::telemetry::Metrics;

/// Streams that one node may have: one, and those that it does not know to be dead yet.
const MAX_STREAMS_OF_NODE: usize = 4;
/// Responses on their way to the network. The session has one a type at most; one place is for the end.
const QUEUE: usize = ResourceType::ALL.len() + 1;

/// Answers `envoy.service.discovery.v3.AggregatedDiscoveryService`.
pub struct DiscoveryService {
    catalogs: watch::Receiver<Option<Arc<Catalog>>>,
    register: Register,
    metrics: Metrics,
    drain: Drain,
}

type Responses = mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>;

/// One stream.
struct Conversation {
    caller: Caller,
    session: Session,
    requests: Streaming<DeltaDiscoveryRequest>,
    responses: Responses,
    catalogs: watch::Receiver<Option<Arc<Catalog>>>,
    metrics: Metrics,
    drain: Drain,
    _place: Place,
}

/// How a stream ends.
enum End {
    /// The node went.
    Gone,
    /// The node is told why.
    Told(Status),
}

// === impl DiscoveryService ===

impl DiscoveryService {
    /// Serves these catalogs until the drain.
    pub fn new(catalogs: watch::Receiver<Option<Arc<Catalog>>>, metrics: Metrics, drain: Drain) -> Self {
        Self {
            catalogs,
            register: Register::new(metrics.clone()),
            metrics,
            drain,
        }
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for DiscoveryService {
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let caller = Caller::of(&request)?;
        if self.drain.is_stopping() {
            return Err(stopping());
        }
        if self.catalogs.borrow().is_none() {
            return Err(Status::unavailable(
                "the control plane has not loaded its manifests without an error yet; see /problems of its admin \
                 listener",
            ));
        }
        let place = self.register.enter(caller.node(), MAX_STREAMS_OF_NODE).ok_or_else(|| {
            Status::resource_exhausted(format!(
                "node {} has {MAX_STREAMS_OF_NODE} streams already; does another node use its join token?",
                caller.node()
            ))
        })?;
        let (responses, receiver) = mpsc::channel(QUEUE);
        let conversation = Conversation {
            session: Session::new(caller.node().clone()),
            caller,
            requests: request.into_inner(),
            responses,
            catalogs: self.catalogs.clone(),
            metrics: self.metrics.clone(),
            drain: self.drain.clone(),
            _place: place,
        };
        tasks::spawn_guarded("discovery stream", self.drain.guard(), conversation.run());
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

// === impl Conversation ===

impl Conversation {
    async fn run(mut self) {
        let node = self.caller.node().clone();
        tracing::info!(%node, "node connected");
        match self.converse(&node).await {
            End::Gone => tracing::info!(%node, "node disconnected"),
            End::Told(status) => {
                tracing::info!(%node, code = ?status.code(), reason = status.message(), "ended a node's stream");
                // There is a place for it, or the node does not read: the stream's end tells it all the same.
                drop(self.responses.try_send(Err(status)));
            }
        }
    }

    async fn converse(&mut self, node: &NodeName) -> End {
        loop {
            if let Err(end) = self.send() {
                return end;
            }
            let deadline = self.session.deadline();
            let slow = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.drain.stopping() => return End::Told(stopping()),
                () = self.responses.closed() => return End::Gone,
                () = self.caller.revoked() => {
                    return End::Told(Status::unauthenticated("the join token was revoked"));
                }
                () = slow => return End::Told(Violation::Slow.status()),
                changed = self.catalogs.changed() => {
                    if changed.is_err() {
                        return End::Told(stopping());
                    }
                }
                request = self.requests.message() => match request {
                    Ok(Some(request)) => match self.session.receive(request) {
                        Ok(received) => self.record(node, received),
                        Err(violation) => return End::Told(violation.status()),
                    },
                    Ok(None) | Err(_) => return End::Gone,
                }
            }
        }
    }

    /// Sends whatever may be sent now.
    fn send(&mut self) -> Result<(), End> {
        let catalog = self.catalogs.borrow_and_update().clone();
        let Some(catalog) = catalog else { return Ok(()) };
        while let Some(response) = self.session.next_response(&catalog, Instant::now()) {
            if let Some(resource_type) = ResourceType::from_type_url(&response.type_url) {
                self.metrics.pushed(resource_type);
            }
            tracing::debug!(
                node = %self.caller.node(), type_url = response.type_url, nonce = response.nonce,
                resources = response.resources.len(), removed = response.removed_resources.len(), "push"
            );
            // One response a type: full means that the session is wrong, closed that the node went.
            self.responses.try_send(Ok(response)).map_err(|_| End::Gone)?;
        }
        Ok(())
    }

    fn record(&self, node: &NodeName, received: Received) {
        match received {
            Received::Subscribed(resource_type) => {
                tracing::debug!(%node, resource_type = resource_type.label(), "subscribed");
            }
            Received::Acknowledged(resource_type) => {
                tracing::debug!(%node, resource_type = resource_type.label(), "acknowledged");
            }
            Received::Refused(resource_type, detail) => {
                self.metrics.nacks.inc();
                tracing::warn!(%node, resource_type = resource_type.label(), detail, "the node refused a response");
            }
            Received::Stale => {}
            Received::UnknownType(type_url) => {
                tracing::warn!(%node, type_url, "the node asks for a type that is not known here; it gets no answer");
            }
        }
    }
}

// === impl Violation ===

impl Violation {
    fn status(&self) -> Status {
        let text = self.to_string();
        match self {
            Self::Misnamed(..) => Status::permission_denied(text),
            Self::TooManyNames => Status::resource_exhausted(text),
            Self::Slow => Status::deadline_exceeded(text),
        }
    }
}

fn stopping() -> Status {
    Status::unavailable("the control plane is stopping; connect again")
}

//! A client's connection, as its requests see it.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{Request, Response};
use mesh_model::{Destination, ResourceName};

use super::HttpClient;
use super::request;
use crate::flow::context::Context;
use crate::flow::plan::Plan;
use crate::l7::body::Body;
use crate::l7::server::{Handler, Refusal};
use crate::local::LocalWorkload;
use crate::outcome::{Flag, Flags};
use crate::telemetry::requests::RequestRecord;

/// A client's connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// Handles.
    pub context: Arc<Context>,
    /// Whose it is.
    pub local: Arc<LocalWorkload>,
    /// The client's address.
    pub client: SocketAddr,
    /// What it asked for.
    pub asked: SocketAddr,
    /// The Service there, and its port.
    pub service: (ResourceName, u16),
    plan: ArcSwap<Current>,
}

/// The plan for a generation of the snapshot.
#[derive(Debug)]
struct Current {
    generation: u64,
    /// `None` when the Service is gone.
    plan: Option<Arc<Plan>>,
}

/// Answers the requests of a connection.
#[derive(Clone)]
pub(super) struct Requests(pub Arc<Connection>);

// === impl Connection ===

impl Connection {
    /// A client's connection; its plan is looked at again for the first request.
    pub(super) fn new(context: Arc<Context>, client: HttpClient) -> Self {
        let service = (client.plan.service.name.clone(), client.plan.port.port);
        Self {
            context,
            local: client.local,
            client: client.address,
            asked: client.asked,
            service,
            plan: ArcSwap::from_pointee(Current {
                generation: 0,
                plan: Some(client.plan),
            }),
        }
    }

    /// The plan in force; `None` when the Service is gone.
    pub(super) fn plan(&self) -> Option<Arc<Plan>> {
        let store = &self.context.store;
        let generation = store.generation();
        let current = self.plan.load();
        if current.generation == generation {
            return current.plan.clone();
        }
        let snapshot = store.load();
        let plan = match snapshot.resolve(self.asked) {
            Destination::Service { service, port, .. } if service.name == self.service.0 => {
                let namespace = self.local.workload.name.namespace();
                Some(self.context.plans.get(&snapshot, &service, &port, namespace))
            }
            _ => None,
        };
        self.plan.store(Arc::new(Current {
            generation,
            plan: plan.clone(),
        }));
        plan
    }
}

impl Handler for Requests {
    async fn handle(&self, request: Request<Body>) -> Response<Body> {
        // On the heap: a connection is idle most of its life, and its future would keep room for all of this.
        Box::pin(request::answer(&self.0, request)).await
    }

    fn refused(&self, refusal: &Refusal) {
        let mut flags = Flags::default();
        flags.insert(Flag::DownstreamProtocolError);
        let workload = &self.0.local.workload;
        let cause = format!("{}: {}", refusal.cause, refusal.detail);
        let record = RequestRecord {
            source: Some(&workload.name),
            source_identity: Some(&workload.identity),
            service: Some((&self.0.service.0, self.0.service.1)),
            protocol: refusal.version,
            status: refusal.status.map(|status| status.as_u16()),
            flags,
            cause: &cause,
            ..RequestRecord::from(self.0.client)
        };
        self.0.context.requests.record(&record);
        self.0.context.access_log.write_request(&record);
    }
}

//! The admin API: what the node knows and does, as JSON, for `meshctl` and for people.
//!
//! Reads handles and changes nothing but the log filter. Answers hold no key.

mod direct;
mod resources;
mod routes;
mod stats;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use http::StatusCode;
use mesh_api::admin::{
    CertificateStatus, ConnectionStatus, ControlStatus, DirectStatus, NodeRoutes, ServiceStatus, Status,
    WorkloadStatus,
};
use mesh_runtime::http_server::{Request, Response, Router};
use mesh_runtime::logging::LogHandle;
use mesh_runtime::readiness::Readiness;
use parking_lot::Mutex;
use serde::Serialize;

use crate::flow::context::Context;
use crate::identity::renewal::half_life;
use crate::workloads::manager::Reasons;

/// Connections that one answer lists; the oldest come first.
const MAX_CONNECTIONS: usize = 10_000;

/// The handles that the answers are made from.
pub struct Admin {
    /// Of the data plane.
    pub context: Arc<Context>,
    /// Whether the node is ready.
    pub readiness: Readiness,
    /// The connection to the control plane.
    pub control: Arc<Mutex<ControlStatus>>,
    /// Why local workloads are not enrolled.
    pub reasons: Reasons,
    /// Changes the log filter.
    pub log: LogHandle,
    /// When the process started.
    pub started: Instant,
}

/// `GET /config`: everything.
#[derive(Debug, Serialize)]
struct Dump {
    status: Status,
    workloads: Vec<WorkloadStatus>,
    services: Vec<ServiceStatus>,
    routes: Vec<NodeRoutes>,
    certificates: Vec<CertificateStatus>,
    connections: Vec<ConnectionStatus>,
    direct: DirectStatus,
}

// === impl Admin ===

impl Admin {
    /// The paths.
    pub fn router(self) -> Router {
        let admin = Arc::new(self);
        let get = |answer: fn(&Admin) -> Response| {
            let admin = Arc::clone(&admin);
            move |_: Request| std::future::ready(answer(&admin))
        };
        let set_filter = {
            let admin = Arc::clone(&admin);
            move |request: Request| std::future::ready(admin.set_filter(&request))
        };
        let stats = {
            let admin = Arc::clone(&admin);
            move |request: Request| std::future::ready(admin.stats(&request))
        };
        Router::new()
            .get("/status", get(|admin| Response::json(&admin.status())))
            .get("/workloads", get(|admin| Response::json(&admin.workloads())))
            .get("/services", get(|admin| Response::json(&admin.services())))
            .get("/routes", get(|admin| Response::json(&admin.routes())))
            .get("/stats", stats)
            .get("/connections", get(|admin| Response::json(&admin.connections())))
            .get("/direct", get(|admin| Response::json(&admin.direct())))
            .get(
                "/certificates",
                get(|admin| Response::json(&admin.certificates())),
            )
            .get("/config", get(|admin| Response::json(&admin.dump())))
            .get(
                "/logging",
                get(|admin| Response::text(StatusCode::OK, format!("{}\n", admin.log.filter()))),
            )
            .post("/logging", set_filter)
    }

    fn dump(&self) -> Dump {
        Dump {
            status: self.status(),
            workloads: self.workloads(),
            services: self.services(),
            routes: self.routes(),
            certificates: self.certificates(),
            connections: self.connections(),
            direct: self.direct(),
        }
    }

    fn status(&self) -> Status {
        let snapshot = self.context.store.load();
        let counters = self.context.capture.counters().unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the counters of the kernel programs");
            Vec::new()
        });
        Status {
            node: self.context.node.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.started.elapsed().as_secs(),
            is_ready: self.readiness.is_ready(),
            pending: self.readiness.pending().into_iter().map(str::to_owned).collect(),
            control: self.control.lock().clone(),
            enrolled_workloads: self.context.locals.all().len(),
            workloads: snapshot.workloads().count(),
            services: snapshot.services().count(),
            open_connections: self.context.live.count(),
            capture: counters
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        }
    }

    fn connections(&self) -> Vec<ConnectionStatus> {
        let name = |name: &Option<mesh_model::ResourceName>| name.as_ref().map(ToString::to_string);
        self.context
            .live
            .list(MAX_CONNECTIONS)
            .into_iter()
            .map(|(id, connection)| ConnectionStatus {
                id,
                direction: connection.direction.to_owned(),
                workload: name(&connection.workload).unwrap_or_default(),
                source: connection.source,
                destination: connection.destination,
                service: name(&connection.service),
                endpoint: connection.endpoint,
                peer: Some(connection.peer.clone()).filter(|peer| !peer.is_empty()),
                transport: connection.transport.to_owned(),
                sent_bytes: connection.sent.load(Ordering::Relaxed),
                received_bytes: connection.received.load(Ordering::Relaxed),
                age_seconds: connection.since.elapsed().as_secs(),
            })
            .collect()
    }

    fn certificates(&self) -> Vec<CertificateStatus> {
        let mut failures = self.context.identities.failures();
        let mut all: Vec<CertificateStatus> = self
            .context
            .identities
            .all()
            .into_iter()
            .map(|material| CertificateStatus {
                identity: material.identity.to_string(),
                serial: material.serial.clone(),
                not_before: material.not_before,
                not_after: material.not_after,
                renewal: half_life(material.not_before, material.not_after),
                last_error: failures.remove(&material.identity),
            })
            .collect();
        all.extend(failures.into_iter().map(|(identity, error)| CertificateStatus {
            identity: identity.to_string(),
            serial: String::new(),
            not_before: 0,
            not_after: 0,
            renewal: 0,
            last_error: Some(error),
        }));
        all.sort_unstable_by(|a, b| a.identity.cmp(&b.identity));
        all
    }

    fn set_filter(&self, request: &Request) -> Response {
        let Some(filter) = request.query_value("filter") else {
            let text = "say which: POST /logging?filter=info,mesh_node::hbone=debug\n";
            return Response::text(StatusCode::BAD_REQUEST, text);
        };
        match self.log.set_filter(filter) {
            Ok(()) => Response::text(StatusCode::OK, format!("{filter}\n")),
            Err(error) => Response::text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        }
    }
}

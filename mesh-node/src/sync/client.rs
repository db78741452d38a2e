//! Keeps the discovery stream open: connects, subscribes, applies, acknowledges, and tries again when it breaks.
//!
//! Whatever happens here, the snapshot in force stays in force.

use std::sync::Arc;
use std::time::Duration;

use mesh_api::admin::ControlStatus;
use mesh_api::wire::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use mesh_api::wire::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_model::NodeName;
use mesh_runtime::backoff::Backoff;
use mesh_runtime::readiness::Condition;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;

use super::cache::Cache;
use super::session::Session;
use crate::control::{Control, ControlError};
use crate::state::Store;
use crate::telemetry::metrics::Metrics;

/// First and longest pause between attempts (ztunnel's: 10 ms to 15 s).
const RETRY_MIN: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_secs(15);
/// A stream that lived this long, or brought a whole configuration, was a good one: the next pause starts small again.
const GOOD_STREAM: Duration = Duration::from_secs(5);
/// Longest wait for the stream's headers.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests that wait for the stream to take them; a request answers a response, one by one.
const REQUEST_QUEUE: usize = 16;
/// Largest response, in bytes (ztunnel's value).
const MAX_RESPONSE: usize = 200 * 1024 * 1024;

/// Owns the stream.
#[derive(Debug)]
pub struct Client {
    /// This node.
    pub node: NodeName,
    /// Connects.
    pub control: Control,
    /// Gets the changes.
    pub store: Arc<Store>,
    /// Has the last good state of a former process.
    pub cache: Cache,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Met when there is a configuration to work with.
    pub configured: Condition,
    /// For the admin API.
    pub status: Arc<Mutex<ControlStatus>>,
}

// === impl Client ===

impl Client {
    /// Puts the state on disk in force. Gives the session that goes on from it.
    pub fn restore(&self) -> Session {
        let mut session = Session::default();
        let mut is_there = false;
        let loaded = self.cache.load(|response| {
            is_there = true;
            self.store.apply(session.restore(response));
        });
        match loaded {
            Ok(()) if !is_there => {}
            Ok(()) => {
                let snapshot = self.store.load();
                let (workloads, services) = (snapshot.workloads().count(), snapshot.services().count());
                let routed = snapshot.all_routes().count();
                tracing::info!(workloads, services, routed, "configuration restored from disk");
                self.status.lock().is_stale = true;
                self.configured.met();
            }
            Err(error) => tracing::error!(%error, "starting without the configuration on disk"),
        }
        session
    }

    /// Runs until it is dropped.
    pub async fn run(self, mut session: Session) {
        let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX, 2);
        loop {
            let started = Instant::now();
            let error = match self.stream(&mut session).await {
                Ok(()) => "the control plane ended the stream".to_owned(),
                Err(error) => error.to_string(),
            };
            self.metrics.control_disconnected();
            let was_complete = session.end();
            if was_complete || started.elapsed() >= GOOD_STREAM {
                backoff.reset();
            }
            let pause = backoff.next_delay();
            tracing::warn!(error, retry_in = ?pause, "not connected to the control plane; the last good configuration stays in force");
            {
                let mut status = self.status.lock();
                status.is_connected = false;
                status.last_error = Some(error);
            }
            sleep(pause).await;
        }
    }

    async fn stream(&self, session: &mut Session) -> Result<(), ControlError> {
        let (requests, mut responses) = match self.open(session).await {
            Ok(opened) => opened,
            Err(error) => {
                self.metrics.control_connection(false);
                return Err(error);
            }
        };
        self.metrics.control_connection(true);
        tracing::info!(address = self.control.address(), "connected to the control plane");
        {
            let mut status = self.status.lock();
            status.is_connected = true;
            status.last_error = None;
        }
        while let Some(response) = responses.message().await? {
            let reply = self.take(session, response);
            if requests.send(reply).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn open(
        &self,
        session: &mut Session,
    ) -> Result<
        (
            mpsc::Sender<DeltaDiscoveryRequest>,
            tonic::Streaming<DeltaDiscoveryResponse>,
        ),
        ControlError,
    > {
        let connection = self.control.connect().await?;
        let (sender, receiver) = mpsc::channel(REQUEST_QUEUE);
        for request in session.open(&self.node) {
            // There is room for one request a type, and the receiver is in hand.
            if sender.try_send(request).is_err() {
                tracing::error!("the queue of requests is too short for the opening ones");
            }
        }
        let mut client = AggregatedDiscoveryServiceClient::new(connection.channel.clone())
            .max_decoding_message_size(MAX_RESPONSE);
        let opening = client.delta_aggregated_resources(connection.request(ReceiverStream::new(receiver)));
        let opened = timeout(OPEN_TIMEOUT, opening)
            .await
            .map_err(|_| tonic::Status::deadline_exceeded("no answer to the discovery request"))??;
        Ok((sender, opened.into_inner()))
    }

    /// Applies a response; gives the answer.
    fn take(&self, session: &mut Session, response: DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
        let handled = session.handle(response);
        let kind = handled
            .resource_type
            .map_or("unknown", mesh_api::ResourceType::label);
        self.metrics.control_response(kind, handled.refusal.is_none());
        if let Some(refusal) = &handled.refusal {
            tracing::error!(
                kind,
                refusal,
                "refused a part of the control plane's response; the former state of it stays in force"
            );
        }
        tracing::debug!(
            kind,
            changes = handled.diff.changes.len(),
            "configuration received"
        );
        self.store.apply(handled.diff);
        if session.is_complete() {
            self.status.lock().is_stale = false;
            self.configured.met();
        }
        handled.reply
    }
}

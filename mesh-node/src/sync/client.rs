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
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;

use super::cache::{self, Cache};
use super::session::Session;
use crate::control::{Control, ControlError};
use crate::state::Store;
use crate::telemetry::metrics::Metrics;

/// First and longest pause between attempts (ztunnel's: 10 ms to 15 s).
const RETRY_MIN: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_secs(15);
/// A stream that lived this long was a good one: the next pause starts small again.
const GOOD_STREAM: Duration = Duration::from_secs(5);
/// Longest wait for the stream's headers.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests that wait for the stream to take them; a request answers a response, one by one.
const REQUEST_QUEUE: usize = 16;
/// Largest response, in bytes (ztunnel's value).
const MAX_RESPONSE: usize = 200 * 1024 * 1024;
/// Pause between a change and its being kept on disk, so that a burst is written once.
const CACHE_DELAY: Duration = Duration::from_millis(200);

/// Owns the stream and the file.
#[derive(Debug)]
pub struct Client {
    /// This node.
    pub node: NodeName,
    /// Connects.
    pub control: Control,
    /// Gets the changes.
    pub store: Arc<Store>,
    /// Keeps the last good state.
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
        match self.cache.load() {
            Ok(responses) if responses.is_empty() => {}
            Ok(responses) => {
                self.store.apply(session.restore(responses));
                let snapshot = self.store.load();
                let (workloads, services) = (snapshot.workloads().count(), snapshot.services().count());
                tracing::info!(workloads, services, "configuration restored from disk");
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
            if started.elapsed() >= GOOD_STREAM {
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
        let mut cache_due: Option<Instant> = None;
        loop {
            let due = cache_due;
            tokio::select! {
                response = responses.message() => match response? {
                    Some(response) => {
                        let (reply, has_changed) = self.take(session, response);
                        if has_changed && cache_due.is_none() {
                            cache_due = Some(Instant::now() + CACHE_DELAY);
                        }
                        if requests.send(reply).await.is_err() {
                            return Ok(());
                        }
                    }
                    None => return Ok(()),
                },
                () = async { if let Some(due) = due { sleep_until(due).await } }, if due.is_some() => {
                    cache_due = None;
                    self.keep(session).await;
                }
            }
        }
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

    /// Applies a response; gives the answer, and whether anything changed.
    fn take(&self, session: &mut Session, response: DeltaDiscoveryResponse) -> (DeltaDiscoveryRequest, bool) {
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
        let has_changed = !handled.diff.is_empty();
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
        (handled.reply, has_changed)
    }

    async fn keep(&self, session: &Session) {
        let bytes = cache::encode(&self.store.load(), session);
        let cache = self.cache.clone();
        let kept = tokio::task::spawn_blocking(move || cache.store(&bytes)).await;
        match kept {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "cannot keep the configuration for a restart"),
            Err(error) => tracing::error!(%error, "keeping the configuration for a restart failed"),
        }
    }
}

//! The metrics of the node's own doings, by name, type and labels: tunnels, certificates, the control plane. Those of what it
//! carries are in [`super::connections`] and [`super::requests`].
//!
//! Names get the prefix `mesh_node_` in front.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

/// Upper bounds of the handshake histogram, in seconds: 0.5 ms to 8 s, doubling.
const HANDSHAKE_BUCKETS: [f64; 15] = [
    0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 2.0, 4.0, 8.0,
];

/// Upper bounds of the histogram of protocol detection, in seconds: 0.05 ms to 13 s.
const DETECTION_BUCKETS: [f64; 10] = [
    0.00005, 0.0002, 0.0008, 0.0016, 0.0032, 0.0128, 0.0512, 0.2048, 1.6384, 13.1072,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandshakeLabels {
    side: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DetectionLabels {
    declared: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IdentityLabel {
    identity: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

/// All metrics of the node.
#[derive(Debug)]
pub struct Metrics {
    handshakes: Family<HandshakeLabels, Counter>,
    handshake_seconds: Family<HandshakeLabels, Histogram, fn() -> Histogram>,
    detections: Family<DetectionLabels, Counter>,
    detection_seconds: Family<OutcomeLabel, Histogram, fn() -> Histogram>,
    tunnels_open: Gauge,
    tunnels_opened: Counter,
    tunnels_closed: Counter,
    certificates: Family<ResultLabel, Counter>,
    control_connected: Gauge,
    control_connections: Family<ResultLabel, Counter>,
    control_responses: Family<KindLabel, Counter>,
    control_rejected: Family<KindLabel, Counter>,
    certificate_expiry: Family<IdentityLabel, Gauge>,
    workloads_enrolled: Gauge,
}

// === impl Metrics ===

impl Metrics {
    /// Makes and registers all of them.
    pub fn register(registry: &mut Registry) -> Self {
        let seconds: fn() -> Histogram = || Histogram::new(HANDSHAKE_BUCKETS);
        let detection_seconds: fn() -> Histogram = || Histogram::new(DETECTION_BUCKETS);
        let r = registry;
        Self {
            handshakes: added(r, "tls_handshakes", "TLS handshakes"),
            handshake_seconds: add(
                r,
                "tls_handshake_seconds",
                "Duration of TLS handshakes",
                Family::new_with_constructor(seconds),
            ),
            detections: added(
                r,
                "protocol_detections",
                "Connections whose protocol was told from their first bytes",
            ),
            detection_seconds: add(
                r,
                "protocol_detection_seconds",
                "How long it took to tell a connection's protocol",
                Family::new_with_constructor(detection_seconds),
            ),
            tunnels_open: added(r, "tunnels_open", "HBONE connections of the pool that are open"),
            tunnels_opened: added(r, "tunnels_opened", "HBONE connections that the pool opened"),
            tunnels_closed: added(r, "tunnels_closed", "HBONE connections of the pool that are over"),
            certificates: added(r, "certificates", "Attempts to get a certificate"),
            certificate_expiry: added(
                r,
                "certificate_expiry_timestamp_seconds",
                "When a certificate in force expires, in seconds since 1970",
            ),
            control_connected: added(r, "control_connected", "Whether the control plane is connected"),
            control_connections: added(
                r,
                "control_connections",
                "Attempts to connect to the control plane",
            ),
            control_responses: added(
                r,
                "control_responses",
                "Responses of the control plane that were taken",
            ),
            control_rejected: added(
                r,
                "control_rejected",
                "Responses of the control plane that were refused",
            ),
            workloads_enrolled: added(r, "workloads_enrolled", "Workloads that are captured"),
        }
    }

    /// A TLS handshake is over; without a duration, it failed.
    pub fn handshake(&self, side: &'static str, duration: Option<Duration>) {
        let result = if duration.is_some() { "ok" } else { "failed" };
        let labels = HandshakeLabels { side, result };
        if let Some(duration) = duration {
            self.handshake_seconds
                .get_or_create(&labels)
                .observe(duration.as_secs_f64());
        }
        self.handshakes.get_or_create(&labels).inc();
    }

    /// The look at a connection's first bytes is over.
    pub fn detected(&self, declared: &'static str, outcome: &'static str, duration: Duration) {
        self.detections
            .get_or_create(&DetectionLabels { declared, outcome })
            .inc();
        self.detection_seconds
            .get_or_create(&OutcomeLabel { outcome })
            .observe(duration.as_secs_f64());
    }

    /// The pool has one connection more.
    pub fn tunnel_opened(&self) {
        self.tunnels_opened.inc();
        self.tunnels_open.inc();
    }

    /// The pool has one connection less.
    pub fn tunnel_closed(&self) {
        self.tunnels_closed.inc();
        self.tunnels_open.dec();
    }

    /// A certificate was signed.
    pub fn certificate_obtained(&self) {
        self.certificates
            .get_or_create(&ResultLabel { result: "ok" })
            .inc();
    }

    /// A certificate was not to be had.
    pub fn certificate_failed(&self) {
        self.certificates
            .get_or_create(&ResultLabel { result: "failed" })
            .inc();
    }

    /// A certificate is in force until this moment, in seconds since 1970.
    pub fn certificate_in_force(&self, identity: String, not_after: i64) {
        self.certificate_expiry
            .get_or_create(&IdentityLabel { identity })
            .set(not_after);
    }

    /// An identity has no certificate any more.
    pub fn certificate_gone(&self, identity: String) {
        self.certificate_expiry.remove(&IdentityLabel { identity });
    }

    /// An attempt to connect to the control plane is over.
    pub fn control_connection(&self, is_connected: bool) {
        let result = if is_connected { "ok" } else { "failed" };
        self.control_connections
            .get_or_create(&ResultLabel { result })
            .inc();
        self.control_connected.set(is_connected.into());
    }

    /// The control plane is gone.
    pub fn control_disconnected(&self) {
        self.control_connected.set(0);
    }

    /// A response of the control plane was taken, or refused.
    pub fn control_response(&self, kind: &'static str, is_accepted: bool) {
        let family = if is_accepted {
            &self.control_responses
        } else {
            &self.control_rejected
        };
        family.get_or_create(&KindLabel { kind }).inc();
    }

    /// So many workloads are captured.
    pub fn set_enrolled(&self, count: usize) {
        self.workloads_enrolled
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

fn added<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    add(registry, name, help, M::default())
}

fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

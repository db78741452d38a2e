//! Every metric of the control plane: name, labels, meaning. Values are counted where things happen.

use std::sync::atomic::{AtomicI64, AtomicU64};

use mesh_api::ResourceType;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// All metrics. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Nodes with a discovery stream.
    pub connected_nodes: Gauge<i64, AtomicI64>,
    /// Certificates signed.
    pub certificates_signed: Counter<u64, AtomicU64>,
    /// Responses that a node refused.
    pub nacks: Counter<u64, AtomicU64>,
    /// When the signing certificate ends, in seconds since 1970.
    pub signer_expiry: Gauge<i64, AtomicI64>,
    pushes: Family<TypeLabel, Counter<u64, AtomicU64>>,
    refusals: Family<ReasonLabel, Counter<u64, AtomicU64>>,
    problems: Family<SeverityLabel, Gauge<i64, AtomicI64>>,
    resources: Family<KindLabel, Gauge<i64, AtomicI64>>,
    unauthenticated: Counter<u64, AtomicU64>,
}

/// Why a certificate was not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// The request or the identity does not parse, or does not prove its key.
    InvalidRequest,
    /// The identity is not one of the node's workloads.
    Identity,
    /// The signer could not.
    Signer,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeLabel {
    r#type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: RefusalReason,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SeverityLabel {
    severity: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

// === impl Metrics ===

impl Metrics {
    /// Adds the metrics to a registry, whose prefix is `mesh_control`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "connected_nodes",
            "Nodes with a discovery stream",
            self.connected_nodes.clone(),
        );
        registry.register(
            "pushes",
            "Discovery responses sent, by resource type",
            self.pushes.clone(),
        );
        registry.register(
            "nacks",
            "Discovery responses that a node refused",
            self.nacks.clone(),
        );
        registry.register(
            "certificates_signed",
            "Workload certificates signed",
            self.certificates_signed.clone(),
        );
        registry.register(
            "certificates_refused",
            "Certificate requests refused, by reason",
            self.refusals.clone(),
        );
        registry.register(
            "requests_unauthenticated",
            "Calls without a valid join token",
            self.unauthenticated.clone(),
        );
        registry.register(
            "load_problems",
            "Problems of the last load, by severity",
            self.problems.clone(),
        );
        registry.register("resources", "Resources in force, by kind", self.resources.clone());
        registry.register(
            "signer_expiry_timestamp_seconds",
            "When the signing certificate ends, in seconds since 1970",
            self.signer_expiry.clone(),
        );
    }

    /// Counts a discovery response.
    pub fn pushed(&self, resource_type: ResourceType) {
        let label = TypeLabel {
            r#type: resource_type.label(),
        };
        self.pushes.get_or_create(&label).inc();
    }

    /// Counts a certificate that was not signed.
    pub fn refused(&self, reason: RefusalReason) {
        self.refusals.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a call without a valid token.
    pub fn unauthenticated(&self) {
        self.unauthenticated.inc();
    }

    /// How many problems of a severity the last load had.
    pub fn set_problems(&self, severity: &'static str, count: usize) {
        let gauge = self.problems.get_or_create(&SeverityLabel { severity }).clone();
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How many resources of a kind are in force.
    pub fn set_resources(&self, kind: &'static str, count: usize) {
        let gauge = self.resources.get_or_create(&KindLabel { kind }).clone();
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

// === impl RefusalReason ===

impl EncodeLabelValue for RefusalReason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let text = match self {
            Self::InvalidRequest => "invalid_request",
            Self::Identity => "identity",
            Self::Signer => "signer",
        };
        EncodeLabelValue::encode(&text, encoder)
    }
}

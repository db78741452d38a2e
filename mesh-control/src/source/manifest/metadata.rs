//! `metadata`, as all kinds have it.

use std::collections::BTreeMap;

use mesh_model::ResourceName;
use serde::Deserialize;
use serde::de::IgnoredAny;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::world::{Age, Origin, Report};

/// The namespace of a resource that names none, as for kubectl.
pub(super) const DEFAULT_NAMESPACE: &str = "default";

/// Kubernetes' ObjectMeta.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "fields that mean nothing here are accepted by name, and never read"
)]
pub(super) struct Metadata {
    /// The name.
    pub(super) name: String,
    /// The namespace.
    pub(super) namespace: Option<String>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<String>,
    deletion_grace_period_seconds: Option<IgnoredAny>,
    deletion_timestamp: Option<IgnoredAny>,
    finalizers: Option<IgnoredAny>,
    generate_name: Option<IgnoredAny>,
    /// Counts the changes of the spec, in Kubernetes.
    pub(super) generation: Option<i64>,
    managed_fields: Option<IgnoredAny>,
    owner_references: Option<IgnoredAny>,
    resource_version: Option<IgnoredAny>,
    self_link: Option<IgnoredAny>,
    uid: Option<IgnoredAny>,
}

// === impl Metadata ===

impl Metadata {
    /// The labels.
    pub(super) fn take_labels(&mut self) -> BTreeMap<String, String> {
        self.labels.take().unwrap_or_default()
    }

    /// When the resource was made.
    pub(super) fn age(&self, origin: &Origin, report: &mut Report) -> Age {
        let Some(text) = &self.creation_timestamp else {
            return Age::Unknown;
        };
        match OffsetDateTime::parse(text, &Rfc3339) {
            Ok(time) => Age::Created(time.unix_timestamp_nanos()),
            Err(error) => {
                let message = format!("'{text}' is no time: {error}");
                let remedy = "write it as RFC 3339 has it, such as 2026-01-31T12:00:00Z, or leave it out";
                report.error(origin, "metadata.creationTimestamp", message, remedy);
                Age::Unknown
            }
        }
    }

    /// The name within its namespace.
    pub(super) fn resource_name(&self, origin: &Origin, report: &mut Report) -> Option<ResourceName> {
        let namespace = self.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
        match ResourceName::new(namespace, &self.name) {
            Ok(name) => Some(name),
            Err(error) => {
                // The namespace is checked first.
                let is_namespace = ResourceName::new(namespace, "x").is_err();
                let field = if is_namespace {
                    "metadata.namespace"
                } else {
                    "metadata.name"
                };
                report.error(origin, field, error.to_string(), "give it a valid name");
                None
            }
        }
    }
}

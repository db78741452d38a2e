//! `v1 Namespace`: only its name and labels matter.

use mesh_model::ResourceName;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::metadata::Metadata;
use crate::world::{Namespace, Origin, Report, Sourced};

/// The manifest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "fields that mean nothing here are accepted by name, and never read"
)]
pub(super) struct Raw {
    api_version: IgnoredAny,
    kind: IgnoredAny,
    metadata: Metadata,
    spec: Option<Spec>,
    status: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "fields that mean nothing here are accepted by name, and never read"
)]
struct Spec {
    finalizers: Option<IgnoredAny>,
}

// === impl Raw ===

impl Raw {
    /// The Namespace.
    pub(super) fn convert(mut self, origin: Origin, report: &mut Report) -> Option<Sourced<Namespace>> {
        // A namespace's name is checked as the namespace part of a resource's name.
        if let Err(error) = ResourceName::new(&self.metadata.name, "x") {
            report.error(
                &origin,
                "metadata.name",
                error.to_string(),
                "give it a valid name",
            );
            return None;
        }
        let labels = self.metadata.take_labels();
        Some(Sourced {
            origin,
            value: Namespace {
                name: self.metadata.name,
                labels,
            },
        })
    }
}

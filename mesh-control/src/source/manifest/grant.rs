//! `gateway.networking.k8s.io ReferenceGrant`: read, and noted that it governs nothing here.
//!
//! Gateway API asks for grants where a Gateway's routes refer to other namespaces; references of routes whose parents
//! are Services need none (GEP-1426).

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::metadata::Metadata;
use crate::world::{Origin, Report};

/// The manifest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "what a grant allows is not asked for here")]
pub(super) struct Raw {
    api_version: IgnoredAny,
    kind: IgnoredAny,
    metadata: Metadata,
    spec: Spec,
}

/// Gateway API's ReferenceGrantSpec.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "what a grant allows is not asked for here")]
struct Spec {
    from: Vec<From>,
    to: Vec<To>,
}

/// Gateway API's ReferenceGrantFrom.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "what a grant allows is not asked for here")]
struct From {
    group: IgnoredAny,
    kind: IgnoredAny,
    namespace: IgnoredAny,
}

/// Gateway API's ReferenceGrantTo.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "what a grant allows is not asked for here")]
struct To {
    group: IgnoredAny,
    kind: IgnoredAny,
    name: Option<IgnoredAny>,
}

// === impl Raw ===

impl Raw {
    /// Notes the grant.
    pub(super) fn note(&self, origin: &Origin, report: &mut Report) {
        if self.metadata.resource_name(origin, report).is_some() {
            let message = "routes of Services may refer to every namespace without a grant";
            report.note(origin, "", message, "it is for gateways, and means nothing here");
        }
    }
}

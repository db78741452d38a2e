//! `nodemesh.io/v1alpha1 TrafficPolicy`: timeouts, retries, balancing, limits and faults.

mod endpoints;
mod requests;

use std::collections::HashSet;

use mesh_model::RetryBudget;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::metadata::Metadata;
use super::reader::Reader;
use super::{route, text};
use crate::world::{BackendSettings, Origin, Report, RequestSettings, Sourced, TargetRef, TrafficPolicy};

/// Most targets, as for Gateway API's own policies.
const MAX_TARGETS: usize = 16;
/// Largest share of retries, in percent of the requests: as many again.
const MAX_BUDGET_PERCENT: u32 = 100;

/// The manifest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "the kind was looked at before")]
pub(super) struct Raw {
    api_version: IgnoredAny,
    kind: IgnoredAny,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Spec {
    target_refs: Vec<RawTarget>,
    timeouts: Option<RawTimeouts>,
    retries: Option<requests::RawRetries>,
    retry_budget: Option<RawBudget>,
    load_balancing: Option<endpoints::RawLoadBalancing>,
    session_affinity: Option<requests::RawAffinity>,
    circuit_breaking: Option<endpoints::RawCircuitBreaking>,
    outlier_detection: Option<endpoints::RawOutliers>,
    rate_limits: Option<Vec<requests::RawRateLimit>>,
    faults: Option<Vec<requests::RawFault>>,
}

/// Gateway API's LocalPolicyTargetReferenceWithSectionName.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawTarget {
    group: Option<String>,
    kind: String,
    name: String,
    section_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct RawTimeouts {
    request: Option<String>,
    backend_request: Option<String>,
    idle: Option<String>,
    connect: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawBudget {
    percent: Option<u32>,
    min_per_second: Option<u32>,
}

// === impl Raw ===

impl Raw {
    /// The policy.
    pub(super) fn convert(self, origin: Origin, report: &mut Report) -> Option<Sourced<TrafficPolicy>> {
        let age = self.metadata.age(&origin, report);
        let name = self.metadata.resource_name(&origin, report)?;
        let mut reader = Reader::new(&origin, report);
        let reader_ref = &mut reader;
        let spec = self.spec;
        let targets = targets(spec.target_refs, reader_ref);
        let timeouts = spec.timeouts.unwrap_or_default();
        let duration = |text: &Option<String>, name: &str, reader: &mut Reader<'_>| {
            reader.duration(text.as_deref(), &format!("spec.timeouts.{name}"))
        };
        let request = RequestSettings {
            request_timeout: duration(&timeouts.request, "request", reader_ref),
            backend_timeout: duration(&timeouts.backend_request, "backendRequest", reader_ref),
            idle_timeout: duration(&timeouts.idle, "idle", reader_ref),
            retry: spec.retries.map(|retries| retries.convert(reader_ref)),
            rate_limits: spec
                .rate_limits
                .map(|limits| requests::rate_limits(limits, reader_ref)),
            faults: spec.faults.map(|faults| requests::faults(faults, reader_ref)),
            affinity: spec.session_affinity.map(|affinity| affinity.convert(reader_ref)),
        };
        let (longest, attempt) = (request.request_timeout, request.backend_timeout);
        route::check_order(longest, attempt, "spec.timeouts", reader_ref);
        let mut backend = BackendSettings {
            connect_timeout: duration(&timeouts.connect, "connect", reader_ref),
            outliers: spec
                .outlier_detection
                .map(|outliers| outliers.convert(reader_ref)),
            retry_budget: spec.retry_budget.map(|budget| budget.convert(reader_ref)),
            ..BackendSettings::default()
        };
        if let Some(balancing) = spec.load_balancing {
            balancing.convert(&mut backend, reader_ref);
        }
        if let Some(breaking) = spec.circuit_breaking {
            breaking.convert(&mut backend, reader_ref);
        }
        if request.fields().next().is_none() && backend.fields().next().is_none() {
            reader.note(
                "spec",
                "sets nothing",
                "write what the policy is for, or remove it",
            );
        }
        let value = TrafficPolicy {
            name,
            age,
            generation: self.metadata.generation,
            targets,
            request,
            backend,
            refusals: reader.into_refusals(),
        };
        Some(Sourced { origin, value })
    }
}

fn targets(raw: Vec<RawTarget>, reader: &mut Reader<'_>) -> Vec<TargetRef> {
    const FIELD: &str = "spec.targetRefs";
    let raw = reader.list(Some(raw), MAX_TARGETS, FIELD);
    if raw.is_empty() {
        reader.error(FIELD, "is empty", "name what the policy is for");
    }
    let mut seen = HashSet::new();
    let mut targets = Vec::new();
    for (index, target) in raw.into_iter().enumerate() {
        let field = format!("{FIELD}[{index}]");
        let is_kind = text::is_kind(&target.kind);
        reader.form(
            is_kind,
            &target.kind,
            &format!("{field}.kind"),
            "kind",
            "write a kind such as Service",
        );
        let target = TargetRef {
            group: target.group,
            kind: target.kind,
            name: target.name,
            section: reader.section_name(target.section_name, &format!("{field}.sectionName")),
        };
        if !seen.insert(target.clone()) {
            reader.error(field, "says the same as another entry", "list each target once");
        }
        targets.push(target);
    }
    targets
}

// === impl RawBudget ===

impl RawBudget {
    fn convert(&self, reader: &mut Reader<'_>) -> RetryBudget {
        let default = RetryBudget::default();
        let percent = self.percent.unwrap_or(default.percent);
        RetryBudget {
            percent: reader.within(percent, 0, MAX_BUDGET_PERCENT, "spec.retryBudget.percent"),
            min_per_second: self.min_per_second.unwrap_or(default.min_per_second),
        }
    }
}

#[cfg(test)]
mod tests;

//! `gateway.networking.k8s.io/v1 HTTPRoute` and `GRPCRoute`.

use mesh_model::{HttpMatch, PathMatch, ResourceName};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::filter::{self, RawFilter, RawGrpcFilter};
use super::matches::{self, RawGrpcMatch, RawHttpMatch};
use super::reference::{self, RawFilteringBackend, RawParent};
use super::stanza::{RawRetry, RawSession, RawTimeouts};
use super::{MAX_RULES, Parts, RouteKind};
use crate::source::manifest::metadata::Metadata;
use crate::source::manifest::reader::Reader;
use crate::world::{Origin, Report, RequestSettings, Route, Rule, Sourced};

/// The manifest of an HTTPRoute.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "the kind was looked at before; the status is Kubernetes' copy of ours"
)]
pub(in super::super) struct RawHttpRoute {
    api_version: IgnoredAny,
    kind: IgnoredAny,
    metadata: Metadata,
    spec: HttpSpec,
    status: Option<IgnoredAny>,
}

/// The manifest of a GRPCRoute.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "the kind was looked at before; the status is Kubernetes' copy of ours"
)]
pub(in super::super) struct RawGrpcRoute {
    api_version: IgnoredAny,
    kind: IgnoredAny,
    metadata: Metadata,
    spec: GrpcSpec,
    status: Option<IgnoredAny>,
}

/// Gateway API's HTTPRouteSpec.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct HttpSpec {
    parent_refs: Option<Vec<RawParent>>,
    use_default_gateways: Option<String>,
    hostnames: Option<Vec<String>>,
    rules: Option<Vec<RawHttpRule>>,
}

/// Gateway API's HTTPRouteRule.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct RawHttpRule {
    name: Option<String>,
    matches: Option<Vec<RawHttpMatch>>,
    filters: Option<Vec<RawFilter>>,
    backend_refs: Option<Vec<RawFilteringBackend<RawFilter>>>,
    timeouts: Option<RawTimeouts>,
    retry: Option<RawRetry>,
    session_persistence: Option<RawSession>,
}

/// Gateway API's GRPCRouteSpec.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct GrpcSpec {
    parent_refs: Option<Vec<RawParent>>,
    use_default_gateways: Option<String>,
    hostnames: Option<Vec<String>>,
    rules: Option<Vec<RawGrpcRule>>,
}

/// Gateway API's GRPCRouteRule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawGrpcRule {
    name: Option<String>,
    matches: Option<Vec<RawGrpcMatch>>,
    filters: Option<Vec<RawGrpcFilter>>,
    backend_refs: Option<Vec<RawFilteringBackend<RawGrpcFilter>>>,
    session_persistence: Option<RawSession>,
}

// === impl RawHttpRoute ===

impl RawHttpRoute {
    /// The route.
    pub(in super::super) fn convert(self, origin: Origin, report: &mut Report) -> Option<Sourced<Route>> {
        let spec = self.spec;
        super::route(RouteKind::Http, &self.metadata, origin, report, |name, reader| {
            if spec.rules.as_ref().is_some_and(Vec::is_empty) {
                let remedy = "write at least one, or leave the field out for one that matches everything";
                reader.error("spec.rules", "is empty", remedy);
            }
            super::note_default_gateways(spec.use_default_gateways.as_deref(), reader);
            super::note_hostnames(spec.hostnames, reader);
            let rules = spec.rules.unwrap_or_else(|| vec![RawHttpRule::default()]);
            let rules = reader.list(Some(rules), MAX_RULES, "spec.rules").into_iter();
            Parts {
                parents: reference::parents(spec.parent_refs, name.namespace(), reader),
                hostnames: Vec::new(),
                rules: rules
                    .enumerate()
                    .map(|(index, rule)| rule.convert(index, name, reader))
                    .collect(),
            }
        })
    }
}

// === impl RawHttpRule ===

impl RawHttpRule {
    fn convert(self, index: usize, route: &ResourceName, reader: &mut Reader<'_>) -> Rule {
        let field = format!("spec.rules[{index}]");
        let (kind, namespace) = (RouteKind::Http, route.namespace());
        let timeouts = self.timeouts.map(|timeouts| timeouts.convert(&field, reader));
        let (request_timeout, backend_timeout) = timeouts.unwrap_or_default();
        let rule = Rule {
            name: reader.section_name(self.name, &format!("{field}.name")),
            matches: matches::http(self.matches, &field, reader),
            filters: filter::filters(self.filters, &field, namespace, kind, reader),
            backends: reference::filtering_backends(self.backend_refs, &field, namespace, kind, reader),
            settings: RequestSettings {
                request_timeout,
                backend_timeout,
                retry: self.retry.map(|retry| retry.convert(&field, reader)),
                affinity: self
                    .session_persistence
                    .and_then(|session| session.convert(route, &field, reader)),
                ..RequestSettings::default()
            },
        };
        check_filters(&rule, &field, reader);
        rule
    }
}

/// Filters that do not go with what else the rule says (HTTPRouteRule).
fn check_filters(rule: &Rule, field: &str, reader: &mut Reader<'_>) {
    if !rule.backends.is_empty() && rule.filters.iter().any(filter::is_redirect) {
        let message =
            "a RequestRedirect answers the request, so that no backend is ever asked; use one or the other";
        reader.incompatible(format!("{field}.filters"), message);
    }
    let of_backends = rule.backends.iter().flat_map(|backend| &backend.filters);
    if rule
        .filters
        .iter()
        .chain(of_backends)
        .any(filter::has_prefix_edit)
        && !matches!(
            rule.matches.as_slice(),
            [HttpMatch {
                path: PathMatch::Prefix(_),
                ..
            }]
        )
    {
        let message =
            "ReplacePrefixMatch needs exactly one match, of type PathPrefix, to know what it replaces";
        reader.unsupported(format!("{field}.matches"), message);
    }
}

// === impl RawGrpcRoute ===

impl RawGrpcRoute {
    /// The route.
    pub(in super::super) fn convert(self, origin: Origin, report: &mut Report) -> Option<Sourced<Route>> {
        let spec = self.spec;
        super::route(RouteKind::Grpc, &self.metadata, origin, report, |name, reader| {
            super::note_default_gateways(spec.use_default_gateways.as_deref(), reader);
            super::note_hostnames(spec.hostnames, reader);
            let rules = reader.list(spec.rules, MAX_RULES, "spec.rules").into_iter();
            Parts {
                parents: reference::parents(spec.parent_refs, name.namespace(), reader),
                hostnames: Vec::new(),
                rules: rules
                    .enumerate()
                    .map(|(index, rule)| rule.convert(index, name, reader))
                    .collect(),
            }
        })
    }
}

// === impl RawGrpcRule ===

impl RawGrpcRule {
    fn convert(self, index: usize, route: &ResourceName, reader: &mut Reader<'_>) -> Rule {
        let field = format!("spec.rules[{index}]");
        let (kind, namespace) = (RouteKind::Grpc, route.namespace());
        let filters = self
            .filters
            .map(|filters| filters.into_iter().map(Into::into).collect());
        Rule {
            name: reader.section_name(self.name, &format!("{field}.name")),
            matches: matches::grpc(self.matches, &field, reader),
            filters: filter::filters(filters, &field, namespace, kind, reader),
            backends: reference::filtering_backends(self.backend_refs, &field, namespace, kind, reader),
            settings: RequestSettings {
                affinity: self
                    .session_persistence
                    .and_then(|session| session.convert(route, &field, reader)),
                ..RequestSettings::default()
            },
        }
    }
}

//! `gateway.networking.k8s.io TLSRoute` and `TCPRoute`: connections, carried as they are.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::reference::{self, RawBackend, RawParent};
use super::{MAX_HOSTNAMES, MAX_RULES, Parts, RouteKind};
use crate::source::manifest::metadata::Metadata;
use crate::source::manifest::reader::Reader;
use crate::world::{Origin, Report, RequestSettings, Route, Rule, Sourced};

/// The manifest of a TLSRoute, of v1, v1alpha3 or v1alpha2.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "the kind was looked at before; the status is Kubernetes' copy of ours"
)]
pub(in super::super) struct RawTlsRoute {
    api_version: String,
    kind: IgnoredAny,
    metadata: Metadata,
    spec: TlsSpec,
    status: Option<IgnoredAny>,
}

/// The manifest of a TCPRoute, of v1 or v1alpha2.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "the kind was looked at before; the status is Kubernetes' copy of ours"
)]
pub(in super::super) struct RawTcpRoute {
    api_version: IgnoredAny,
    kind: IgnoredAny,
    metadata: Metadata,
    spec: TcpSpec,
    status: Option<IgnoredAny>,
}

/// Gateway API's TLSRouteSpec.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct TlsSpec {
    parent_refs: Option<Vec<RawParent>>,
    use_default_gateways: Option<String>,
    hostnames: Option<Vec<String>>,
    rules: Vec<RawRule>,
}

/// Gateway API's TCPRouteSpec.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct TcpSpec {
    parent_refs: Option<Vec<RawParent>>,
    use_default_gateways: Option<String>,
    rules: Vec<RawRule>,
}

/// Gateway API's TLSRouteRule and TCPRouteRule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawRule {
    name: Option<String>,
    backend_refs: Option<Vec<RawBackend>>,
}

/// The only rule. Former versions allow several, of which none could ever be used but the first: there is nothing that
/// tells them apart.
fn rules(raw: Vec<RawRule>, namespace: &str, reader: &mut Reader<'_>) -> Vec<Rule> {
    const FIELD: &str = "spec.rules";
    let raw = reader.list(Some(raw), MAX_RULES, FIELD);
    if raw.is_empty() {
        reader.error(FIELD, "is empty", "write the rule");
    }
    if raw.len() > 1 {
        let message = "there is nothing that tells several rules apart; write one";
        reader.unsupported(FIELD, message);
    }
    let mut rules = Vec::new();
    for (index, rule) in raw.into_iter().enumerate() {
        let field = format!("{FIELD}[{index}]");
        let backends = reference::backends(rule.backend_refs, &field, namespace, reader);
        if backends.is_empty() {
            reader.error(
                format!("{field}.backendRefs"),
                "is empty",
                "name at least one backend",
            );
        }
        rules.push(Rule {
            name: reader.section_name(rule.name, &format!("{field}.name")),
            matches: Vec::new(),
            filters: Vec::new(),
            backends,
            settings: RequestSettings::default(),
        });
    }
    rules
}

// === impl RawTlsRoute ===

impl RawTlsRoute {
    /// The route.
    pub(in super::super) fn convert(self, origin: Origin, report: &mut Report) -> Option<Sourced<Route>> {
        // Host names are required since v1alpha3; before, a route without matches every name.
        let may_lack_hostnames = self.api_version.ends_with("/v1alpha2");
        let spec = self.spec;
        super::route(RouteKind::Tls, &self.metadata, origin, report, |name, reader| {
            const FIELD: &str = "spec.hostnames";
            super::note_default_gateways(spec.use_default_gateways.as_deref(), reader);
            let hostnames = reader.list(spec.hostnames, MAX_HOSTNAMES, FIELD);
            for (index, name) in hostnames.iter().enumerate() {
                reader.hostname(name, true, &format!("{FIELD}[{index}]"));
            }
            if hostnames.is_empty() && !may_lack_hostnames {
                let remedy =
                    "write the names that clients ask for (SNI), or use a TCPRoute for all connections";
                reader.error(FIELD, "is empty", remedy);
            }
            Parts {
                parents: reference::parents(spec.parent_refs, name.namespace(), reader),
                hostnames,
                rules: rules(spec.rules, name.namespace(), reader),
            }
        })
    }
}

// === impl RawTcpRoute ===

impl RawTcpRoute {
    /// The route.
    pub(in super::super) fn convert(self, origin: Origin, report: &mut Report) -> Option<Sourced<Route>> {
        let spec = self.spec;
        super::route(RouteKind::Tcp, &self.metadata, origin, report, |name, reader| {
            super::note_default_gateways(spec.use_default_gateways.as_deref(), reader);
            Parts {
                parents: reference::parents(spec.parent_refs, name.namespace(), reader),
                hostnames: Vec::new(),
                rules: rules(spec.rules, name.namespace(), reader),
            }
        })
    }
}

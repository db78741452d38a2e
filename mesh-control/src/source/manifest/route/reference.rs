//! References of routes: to parents and to backends (Gateway API v1.5, ParentReference and BackendObjectReference).

use mesh_model::ResourceName;
use serde::Deserialize;

use super::RouteKind;
use super::filter::{self, RawFilter};
use crate::source::manifest::field::Port;
use crate::source::manifest::reader::Reader;
use crate::source::manifest::text;
use crate::world::{BackendRef, ParentRef, WeightedRef};

/// The group of Gateway API, which a parent without a group has.
const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";
/// Most parents of a route (CommonRouteSpec).
const MAX_PARENTS: usize = 32;
/// Most backends of a rule (HTTPRouteRule).
const MAX_BACKENDS: usize = 16;
/// Largest weight (BackendRef).
const MAX_WEIGHT: u32 = 1_000_000;
/// Longest name of an object (ObjectName).
const MAX_NAME: usize = 253;

/// Gateway API's ParentReference.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawParent {
    group: Option<String>,
    kind: Option<String>,
    namespace: Option<String>,
    name: String,
    section_name: Option<String>,
    port: Option<Port>,
}

/// Gateway API's BackendObjectReference.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawObject {
    group: Option<String>,
    kind: Option<String>,
    name: String,
    namespace: Option<String>,
    port: Option<Port>,
}

/// Gateway API's BackendRef.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawBackend {
    group: Option<String>,
    kind: Option<String>,
    name: String,
    namespace: Option<String>,
    port: Option<Port>,
    weight: Option<u32>,
}

/// Gateway API's HTTPBackendRef and GRPCBackendRef, which differ in their filters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawFilteringBackend<F> {
    group: Option<String>,
    kind: Option<String>,
    name: String,
    namespace: Option<String>,
    port: Option<Port>,
    weight: Option<u32>,
    filters: Option<Vec<F>>,
}

/// Those of the parents that are Services.
pub(super) fn parents(
    raw: Option<Vec<RawParent>>,
    namespace: &str,
    reader: &mut Reader<'_>,
) -> Vec<ParentRef> {
    let raw = reader.list(raw, MAX_PARENTS, "spec.parentRefs");
    check_distinct(&raw, namespace, reader);
    let mut parents = Vec::new();
    for (index, parent) in raw.into_iter().enumerate() {
        parents.extend(parent.convert(index, namespace, reader));
    }
    parents
}

/// The backends of an HTTPRoute's or GRPCRoute's rule.
pub(super) fn filtering_backends<F: Into<RawFilter>>(
    raw: Option<Vec<RawFilteringBackend<F>>>,
    rule: &str,
    namespace: &str,
    kind: RouteKind,
    reader: &mut Reader<'_>,
) -> Vec<WeightedRef> {
    let field = format!("{rule}.backendRefs");
    let raw = reader.list(raw, MAX_BACKENDS, &field);
    let convert = |(index, backend): (usize, RawFilteringBackend<F>)| {
        let field = format!("{field}[{index}]");
        let filters = backend
            .filters
            .map(|filters| filters.into_iter().map(Into::into).collect());
        let object = RawObject {
            group: backend.group,
            kind: backend.kind,
            name: backend.name,
            namespace: backend.namespace,
            port: backend.port,
        };
        WeightedRef {
            weight: weight(backend.weight, &field, reader),
            filters: filter::filters(filters, &field, namespace, kind, reader),
            backend: object.convert(field, namespace, reader),
        }
    };
    raw.into_iter().enumerate().map(convert).collect()
}

/// The backends of a TLSRoute's or TCPRoute's rule.
pub(super) fn backends(
    raw: Option<Vec<RawBackend>>,
    rule: &str,
    namespace: &str,
    reader: &mut Reader<'_>,
) -> Vec<WeightedRef> {
    let field = format!("{rule}.backendRefs");
    let raw = reader.list(raw, MAX_BACKENDS, &field);
    let convert = |(index, backend): (usize, RawBackend)| {
        let field = format!("{field}[{index}]");
        let object = RawObject {
            group: backend.group,
            kind: backend.kind,
            name: backend.name,
            namespace: backend.namespace,
            port: backend.port,
        };
        WeightedRef {
            weight: weight(backend.weight, &field, reader),
            filters: Vec::new(),
            backend: object.convert(field, namespace, reader),
        }
    };
    raw.into_iter().enumerate().map(convert).collect()
}

fn weight(weight: Option<u32>, field: &str, reader: &mut Reader<'_>) -> u32 {
    reader.within(weight.unwrap_or(1), 0, MAX_WEIGHT, &format!("{field}.weight"))
}

/// Checks group, kind, namespace and name of an object that is referred to.
fn check_object(
    (group, kind): (&str, &str),
    (namespace, name): (&str, &str),
    field: &str,
    reader: &mut Reader<'_>,
) {
    let is_group = group.is_empty() || text::is_subdomain(group);
    let remedy = "write a DNS name such as gateway.networking.k8s.io, or \"\" for Kubernetes' core group";
    reader.form(is_group, group, &format!("{field}.group"), "API group", remedy);
    let remedy = "write a kind such as Service";
    reader.form(
        text::is_kind(kind),
        kind,
        &format!("{field}.kind"),
        "kind",
        remedy,
    );
    let is_namespace = ResourceName::new(namespace, "x").is_ok();
    let remedy = "use lower-case letters, digits and '-', 63 at most";
    reader.form(
        is_namespace,
        namespace,
        &format!("{field}.namespace"),
        "namespace",
        remedy,
    );
    let is_name = (1..=MAX_NAME).contains(&name.len());
    let remedy = format!("write 1 to {MAX_NAME} characters");
    reader.form(
        is_name,
        name,
        &format!("{field}.name"),
        "name of a resource",
        &remedy,
    );
}

/// Several references to one parent tell its sections apart, all by the same fields (CommonRouteSpec).
fn check_distinct(parents: &[RawParent], namespace: &str, reader: &mut Reader<'_>) {
    for (index, parent) in parents.iter().enumerate() {
        let same = parents
            .iter()
            .take(index)
            .filter(|other| other.object(namespace) == parent.object(namespace));
        for other in same {
            let field = format!("spec.parentRefs[{index}]");
            if other.section().is_some() != parent.section().is_some()
                || other.port.is_some() != parent.port.is_some()
            {
                let message = "refers to the same parent as another entry, by other fields than that one";
                let remedy = "let all entries for one parent have a sectionName, or a port, or both";
                reader.error(field, message, remedy);
                return;
            }
            if other.section() == parent.section() && other.port == parent.port {
                let message = "says the same as another entry";
                reader.error(field, message, "list each parent, port or section once");
                return;
            }
        }
    }
}

// === impl RawParent ===

impl RawParent {
    fn group(&self) -> &str {
        self.group.as_deref().unwrap_or(GATEWAY_GROUP)
    }

    fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or("Gateway")
    }

    fn section(&self) -> Option<&str> {
        self.section_name.as_deref().filter(|name| !name.is_empty())
    }

    fn object<'a>(&'a self, namespace: &'a str) -> (&'a str, &'a str, &'a str, &'a str) {
        let namespace = self.namespace.as_deref().unwrap_or(namespace);
        (self.group(), self.kind(), namespace, &self.name)
    }

    fn convert(self, index: usize, namespace: &str, reader: &mut Reader<'_>) -> Option<ParentRef> {
        let field = format!("spec.parentRefs[{index}]");
        let (group, kind, namespace, name) = self.object(namespace);
        check_object((group, kind), (namespace, name), &field, reader);
        if kind != "Service" {
            let message = format!("a parent of kind {kind} is for another controller");
            let remedy = "nothing is done about it here; a Service is \"kind: Service\" with \"group: ''\"";
            reader.note(field, message, remedy);
            return None;
        }
        Some(ParentRef {
            group: group.to_owned(),
            namespace: namespace.to_owned(),
            section: reader.section_name(self.section_name.clone(), &format!("{field}.sectionName")),
            port: self.port.map(|port| port.0),
            field,
            name: self.name,
        })
    }
}

// === impl RawObject ===

impl RawObject {
    pub(super) fn convert(self, field: String, namespace: &str, reader: &mut Reader<'_>) -> BackendRef {
        let group = self.group.unwrap_or_default();
        let kind = self.kind.unwrap_or_else(|| "Service".to_owned());
        let namespace = self.namespace.unwrap_or_else(|| namespace.to_owned());
        check_object((&group, &kind), (&namespace, &self.name), &field, reader);
        if group.is_empty() && kind == "Service" && self.port.is_none() {
            let remedy = "write the port of the Service, not the one of its workloads";
            reader.error(format!("{field}.port"), "is missing", remedy);
        }
        BackendRef {
            field,
            group,
            kind,
            namespace,
            name: self.name,
            port: self.port.map(|port| port.0),
        }
    }
}

//! Resolves references to backends. One that leads nowhere takes its share of requests with it, and nothing else.

use mesh_model::{AppProtocol, BackendTarget, ResourceName};

use super::Services;
use super::parent::label;
use crate::world::{BackendRef, Filter, Reason, Route, RouteKind};

/// A reference that leads nowhere.
pub(super) struct RefProblem {
    /// The field, such as `spec.rules[0].backendRefs[0]`.
    pub(super) field: String,
    /// Whether only copies were to go there.
    pub(super) is_mirror: bool,
    /// Why, as a word.
    pub(super) reason: Reason,
    /// Why, for people.
    pub(super) message: String,
}

/// What a reference of a route leads to.
pub(super) fn target(kind: RouteKind, backend: &BackendRef, services: &Services) -> BackendTarget {
    match resolve(kind, backend, services) {
        Ok((service, port)) => BackendTarget::Service { service, port },
        Err((_, reason)) => BackendTarget::Invalid { reason },
    }
}

/// All references of a route that lead nowhere, in the order of the manifest.
pub(super) fn problems(route: &Route, services: &Services) -> Vec<RefProblem> {
    let mut references = Vec::new();
    for rule in &route.rules {
        references.extend(mirrors(&rule.filters));
        for backend in &rule.backends {
            references.push((&backend.backend, false));
            references.extend(mirrors(&backend.filters));
        }
    }
    let problem = |(backend, is_mirror): (&BackendRef, bool)| {
        let (reason, message) = resolve(route.kind, backend, services).err()?;
        Some(RefProblem {
            field: backend.field.clone(),
            is_mirror,
            reason,
            message,
        })
    };
    references.into_iter().filter_map(problem).collect()
}

/// Why a reference leads nowhere.
pub(super) fn error(kind: RouteKind, backend: &BackendRef, services: &Services) -> Option<String> {
    resolve(kind, backend, services).err().map(|(_, message)| message)
}

fn mirrors(filters: &[Filter]) -> impl Iterator<Item = (&BackendRef, bool)> {
    filters.iter().filter_map(|filter| match filter {
        Filter::Mirror { backend, .. } => Some((backend, true)),
        Filter::Plain(_) => None,
    })
}

fn resolve(
    kind: RouteKind,
    backend: &BackendRef,
    services: &Services,
) -> Result<(ResourceName, u16), (Reason, String)> {
    if !backend.group.is_empty() || backend.kind != "Service" {
        let message = format!(
            "'{}' of group '{}' is no kind of backend",
            backend.kind, backend.group
        );
        return Err((Reason::InvalidKind, message));
    }
    let not_found = |message: String| (Reason::BackendNotFound, message);
    let missing = || {
        not_found(format!(
            "there is no Service {}/{}",
            backend.namespace, backend.name
        ))
    };
    let name = ResourceName::new(&backend.namespace, &backend.name).map_err(|_| missing())?;
    let service = services.get(&name).ok_or_else(missing)?;
    // The port of a Service was asked for when the manifest was read.
    let number = backend.port.unwrap_or_default();
    let port = service
        .port(number)
        .ok_or_else(|| not_found(format!("Service {name} has no port {number}")))?;
    if !speaks(kind, port.protocol) {
        let message = format!(
            "port {number} of Service {name} is declared as {}, which no {} can be sent to",
            label(port.protocol),
            kind.label()
        );
        return Err((Reason::UnsupportedProtocol, message));
    }
    Ok((name, number))
}

/// Whether a backend that declares this can be sent what routes of the kind carry.
fn speaks(kind: RouteKind, protocol: AppProtocol) -> bool {
    match kind {
        RouteKind::Http => protocol == AppProtocol::Undeclared || protocol.is_http(),
        RouteKind::Grpc => {
            matches!(
                protocol,
                AppProtocol::Undeclared | AppProtocol::Http2 | AppProtocol::Grpc
            )
        }
        RouteKind::Tls => matches!(
            protocol,
            AppProtocol::Undeclared | AppProtocol::Tls | AppProtocol::Tcp
        ),
        RouteKind::Tcp => true,
    }
}

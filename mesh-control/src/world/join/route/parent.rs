//! Whether a Service can be the parent of a route, and at which of its ports.

use mesh_model::{AppProtocol, ResourceName, Service};

use super::{Place, Services};
use crate::world::{ParentRef, Reason, Route, RouteKind};

/// Where a route applies.
pub(super) struct Attachment {
    /// The parent.
    pub(super) service: ResourceName,
    /// Its ports; never empty.
    pub(super) ports: Vec<u16>,
    /// The clients' namespace, when the route is of another one than its parent.
    pub(super) consumer: Option<String>,
}

/// Finds the parent and its ports.
pub(super) fn attach(
    route: &Route,
    parent: &ParentRef,
    services: &Services,
) -> Result<Attachment, (Reason, String)> {
    let no_parent = |message: String| (Reason::NoMatchingParent, message);
    if !parent.group.is_empty() {
        let message = format!(
            "there is no Service in the group '{}'; write group: ''",
            parent.group
        );
        return Err(no_parent(message));
    }
    let missing = || {
        no_parent(format!(
            "there is no Service {}/{}",
            parent.namespace, parent.name
        ))
    };
    let name = ResourceName::new(&parent.namespace, &parent.name).map_err(|_| missing())?;
    let service = services.get(&name).ok_or_else(missing)?;
    if service.addresses.is_empty() {
        let message = format!(
            "Service {name} is headless: without an address of its own, nothing tells what is for it"
        );
        return Err(no_parent(message));
    }
    let ports = ports(route.kind, parent, service).map_err(no_parent)?;
    let is_own = route.name.namespace() == name.namespace();
    Ok(Attachment {
        consumer: (!is_own).then(|| route.name.namespace().to_owned()),
        service: name,
        ports,
    })
}

/// The ports that the reference means and that speak what the route is about.
fn ports(kind: RouteKind, parent: &ParentRef, service: &Service) -> Result<Vec<u16>, String> {
    let is_meant = |port: &&mesh_model::ServicePort| {
        parent.port.is_none_or(|number| number == port.port)
            && parent.section.as_ref().is_none_or(|name| *name == port.name)
    };
    let meant: Vec<_> = service.ports.iter().filter(is_meant).collect();
    if meant.is_empty() {
        let name = &service.name;
        return Err(match (parent.port, &parent.section) {
            (Some(port), Some(section)) => format!("Service {name} has no port {port} named '{section}'"),
            (Some(port), None) => format!("Service {name} has no port {port}"),
            (None, Some(section)) => format!("Service {name} has no port named '{section}'"),
            (None, None) => format!("Service {name} has no TCP port"),
        });
    }
    let fitting: Vec<u16> = meant
        .iter()
        .filter(|port| carries(kind, port.protocol))
        .map(|port| port.port)
        .collect();
    if fitting.is_empty() {
        let ports: Vec<String> = meant
            .iter()
            .map(|port| format!("{} is declared as {}", port.port, label(port.protocol)))
            .collect();
        return Err(format!(
            "no port of Service {} carries what {}s are about: port {}",
            service.name,
            kind.label(),
            ports.join(", port ")
        ));
    }
    Ok(fitting)
}

/// Whether what a port declares can be what routes of the kind are about. Every port carries connections.
fn carries(kind: RouteKind, protocol: AppProtocol) -> bool {
    match kind {
        RouteKind::Http => protocol == AppProtocol::Undeclared || protocol.is_http(),
        RouteKind::Grpc => {
            matches!(
                protocol,
                AppProtocol::Undeclared | AppProtocol::Http2 | AppProtocol::Grpc
            )
        }
        RouteKind::Tls => matches!(protocol, AppProtocol::Undeclared | AppProtocol::Tls),
        RouteKind::Tcp => true,
    }
}

/// What a port declares, for people.
pub(super) fn label(protocol: AppProtocol) -> &'static str {
    match protocol {
        AppProtocol::Undeclared => "nothing",
        AppProtocol::Tcp => "bytes (TCP)",
        AppProtocol::Tls => "TLS",
        AppProtocol::Http1 => "HTTP/1.1",
        AppProtocol::Http2 => "HTTP/2",
        AppProtocol::Grpc => "gRPC",
    }
}

// === impl Attachment ===

impl Attachment {
    /// One for each port.
    pub(super) fn places(&self) -> Vec<Place> {
        let ports = self.ports.iter();
        ports
            .map(|port| (self.service.clone(), *port, self.consumer.clone()))
            .collect()
    }
}

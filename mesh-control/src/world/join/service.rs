//! One Service's manifest to one Service of the model; its endpoints are joined apart.

use std::sync::Arc;

use mesh_model::{Service, ServicePort};

use super::policy::Policies;
use super::{check_ports, protocol};
use crate::world::{Report, Sourced, inputs};

/// The Service.
pub(super) fn join(
    input: &Sourced<inputs::Service>,
    policies: &Policies<'_>,
    report: &mut Report,
) -> Service {
    let (origin, service) = (&input.origin, &input.value);
    let ports = service.ports.iter();
    check_ports(
        origin,
        ports.map(|port| (port.field.clone(), port.port, port.name.as_str())),
        report,
    );
    if service.ports.len() > 1 {
        for port in service.ports.iter().filter(|port| port.name.is_empty()) {
            report.error(
                origin,
                format!("{}.name", port.field),
                "a Service with several ports needs a name for each",
                "name the port",
            );
        }
    }
    Service {
        name: service.name.clone(),
        addresses: service.addresses.clone(),
        ports: service
            .ports
            .iter()
            .map(|port| ServicePort {
                name: port.name.clone(),
                port: port.port,
                protocol: protocol::declared(origin, port, report),
                policy: Arc::new(policies.of_port(&service.name, &port.name)),
            })
            .collect(),
    }
}

//! Services and their endpoints, with what this node has under way to them.

use mesh_api::admin::{EndpointStatus, ServiceStatus};

use super::{joined, yes};
use crate::table::Column::{Left, Right};
use crate::table::Table;
use crate::units;

/// A line for each Service.
pub(super) fn service_table(services: &[ServiceStatus]) -> String {
    let mut table = Table::new([
        Left("NAME"),
        Left("ADDRESSES"),
        Left("PORTS"),
        Right("READY"),
        Right("EJECTED"),
        Right("ENDPOINTS"),
        Right("REQUESTS"),
        Right("CONNECTIONS"),
    ]);
    for service in services {
        let count = |is_counted: fn(&EndpointStatus) -> bool| {
            let counted = service.endpoints.iter().filter(|endpoint| is_counted(endpoint));
            counted.count().to_string()
        };
        let sum = |value: fn(&EndpointStatus) -> u32| {
            let values = service
                .endpoints
                .iter()
                .map(|endpoint| u64::from(value(endpoint)));
            values.sum::<u64>().to_string()
        };
        table.push([
            service.name.clone(),
            joined(&service.addresses),
            joined(&service.ports),
            count(|endpoint| endpoint.is_ready),
            count(|endpoint| !endpoint.ejected.is_empty()),
            service.endpoints.len().to_string(),
            sum(|endpoint| endpoint.active_requests),
            sum(|endpoint| endpoint.active_connections),
        ]);
    }
    table.render("No Services.")
}

/// A line for each endpoint.
pub(super) fn endpoint_table(services: &[ServiceStatus]) -> String {
    let mut table = Table::new([
        Left("SERVICE"),
        Left("ADDRESS"),
        Left("PORTS"),
        Left("WORKLOAD"),
        Left("READY"),
        Left("EJECTED"),
        Right("REQUESTS"),
        Right("CONNECTIONS"),
    ]);
    for service in services {
        for endpoint in &service.endpoints {
            let ports: Vec<String> = endpoint
                .ports
                .iter()
                .map(|(service, target)| format!("{service}->{target}"))
                .collect();
            table.push([
                service.name.clone(),
                endpoint.address.to_string(),
                joined(&ports),
                endpoint.workload.clone().unwrap_or_default(),
                yes(endpoint.is_ready),
                ejected(endpoint),
                endpoint.active_requests.to_string(),
                endpoint.active_connections.to_string(),
            ]);
        }
    }
    table.render("No endpoints.")
}

/// For how long, and at which port where it has several.
fn ejected(endpoint: &EndpointStatus) -> String {
    let parts = endpoint.ejected.iter().map(|ejection| {
        let port = if endpoint.ports.len() > 1 {
            format!("port {}: ", ejection.port)
        } else {
            String::new()
        };
        match ejection.seconds_left {
            0 => format!("{port}is tried again"),
            seconds => format!("{port}{} more", units::span(seconds)),
        }
    });
    parts.collect::<Vec<_>>().join(", ")
}

//! `discovery.k8s.io/v1 EndpointSlice`: endpoints that are named one by one.

use std::net::IpAddr;

use mesh_model::ResourceName;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::field::{self, Port, Protocol};
use super::metadata::Metadata;
use crate::world::{Origin, Report, Slice, SliceEndpoint, SlicePort, Sourced};

/// The label that names a slice's Service (Kubernetes API reference, EndpointSlice).
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

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
    address_type: AddressType,
    endpoints: Option<Vec<RawEndpoint>>,
    ports: Option<Vec<RawPort>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum AddressType {
    IPv4,
    IPv6,
    #[serde(rename = "FQDN")]
    Fqdn,
}

/// Kubernetes' Endpoint.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "fields that mean nothing here are accepted by name, and never read"
)]
struct RawEndpoint {
    addresses: Vec<String>,
    #[serde(default)]
    conditions: Option<Conditions>,
    deprecated_topology: Option<IgnoredAny>,
    hints: Option<IgnoredAny>,
    hostname: Option<IgnoredAny>,
    node_name: Option<IgnoredAny>,
    target_ref: Option<IgnoredAny>,
    zone: Option<String>,
}

/// Kubernetes' EndpointConditions.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "fields that mean nothing here are accepted by name, and never read"
)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<IgnoredAny>,
    terminating: Option<IgnoredAny>,
}

/// Kubernetes' EndpointPort.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "fields that mean nothing here are accepted by name, and never read"
)]
struct RawPort {
    name: Option<String>,
    port: Option<Port>,
    protocol: Option<Protocol>,
    app_protocol: Option<IgnoredAny>,
}

// === impl Raw ===

impl Raw {
    /// The slice.
    pub(super) fn convert(mut self, origin: Origin, report: &mut Report) -> Option<Sourced<Slice>> {
        let name = self.metadata.resource_name(&origin, report);
        if self.address_type == AddressType::Fqdn {
            let message = "endpoints by DNS name are not known here";
            report.error(
                &origin,
                "addressType",
                message,
                "write IPv4 or IPv6, and addresses",
            );
            return None;
        }
        let ports = self.take_ports(&origin, report);
        let endpoints = self.take_endpoints(&origin, report)?;
        let name = name?;
        let service = match self.metadata.take_labels().get(SERVICE_LABEL) {
            None => None,
            Some(service) => match ResourceName::new(name.namespace(), service) {
                Ok(service) => Some(service),
                Err(error) => {
                    let field = format!("metadata.labels[{SERVICE_LABEL}]");
                    report.error(&origin, field, error.to_string(), "name the Service");
                    return None;
                }
            },
        };
        Some(Sourced {
            origin,
            value: Slice {
                name,
                service,
                ports,
                endpoints,
            },
        })
    }

    fn take_ports(&mut self, origin: &Origin, report: &mut Report) -> Vec<SlicePort> {
        let mut ports = Vec::new();
        for (index, port) in self.ports.take().unwrap_or_default().into_iter().enumerate() {
            let field = format!("ports[{index}]");
            let name = port.name.unwrap_or_default();
            field::check_port_name(&name, origin, &field, report);
            if field::is_carried(port.protocol.unwrap_or_default(), origin, &field, report) {
                ports.push(SlicePort {
                    name,
                    port: port.port.map(|port| port.0),
                });
            }
        }
        ports
    }

    fn take_endpoints(&mut self, origin: &Origin, report: &mut Report) -> Option<Vec<SliceEndpoint>> {
        let mut endpoints = Vec::new();
        let mut is_whole = true;
        for (index, endpoint) in self.endpoints.take().unwrap_or_default().into_iter().enumerate() {
            let mut addresses = Vec::new();
            for (position, text) in endpoint.addresses.iter().enumerate() {
                let field = format!("endpoints[{index}].addresses[{position}]");
                match field::address(text, origin, field.clone(), report) {
                    Some(address) if address.is_ipv4() == (self.address_type == AddressType::IPv4) => {
                        addresses.push(address);
                    }
                    Some(address) => {
                        let message = format!("{address} is not of the slice's addressType");
                        report.error(origin, field, message, "put it into a slice of the other type");
                        is_whole = false;
                    }
                    None => is_whole = false,
                }
            }
            endpoints.push(SliceEndpoint {
                field: format!("endpoints[{index}]"),
                addresses: addresses as Vec<IpAddr>,
                // "nil should be interpreted as true" (Kubernetes API reference, EndpointConditions).
                is_ready: endpoint.conditions.unwrap_or_default().ready.unwrap_or(true),
                zone: endpoint.zone.filter(|zone| !zone.is_empty()),
            });
        }
        is_whole.then_some(endpoints)
    }
}

//! `nodemesh.v1.Service` and `nodemesh.v1.Endpoints`.

use std::sync::Arc;

use mesh_model::{AppProtocol, Endpoint, EndpointSet, Locality, PortMapping, Service, ServicePort};

use super::{ConvertError, address_from_wire, address_to_wire, port_from_wire, resource_name, value, wire};

pub(crate) fn to_wire(service: &Service) -> wire::Service {
    wire::Service {
        namespace: service.name.namespace().to_owned(),
        name: service.name.name().to_owned(),
        addresses: service.addresses.iter().copied().map(address_to_wire).collect(),
        ports: service
            .ports
            .iter()
            .map(|p| wire::ServicePort {
                name: p.name.clone(),
                port: p.port.into(),
                protocol: protocol_to_wire(p.protocol).into(),
            })
            .collect(),
    }
}

pub(crate) fn from_wire(message: wire::Service) -> Result<Service, ConvertError> {
    let addresses = message
        .addresses
        .iter()
        .map(|bytes| address_from_wire("addresses", bytes))
        .collect::<Result<_, _>>()?;
    let ports = message
        .ports
        .into_iter()
        .map(|p| {
            Ok(ServicePort {
                port: port_from_wire("ports.port", p.port)?,
                protocol: protocol_from_wire(p.protocol)?,
                name: p.name,
                policy: Arc::default(),
            })
        })
        .collect::<Result<_, ConvertError>>()?;
    Ok(Service {
        name: resource_name(&message.namespace, &message.name)?,
        addresses,
        ports,
    })
}

pub(crate) fn endpoints_to_wire(set: &EndpointSet) -> wire::Endpoints {
    wire::Endpoints {
        namespace: set.service.namespace().to_owned(),
        name: set.service.name().to_owned(),
        endpoints: set
            .endpoints
            .iter()
            .map(|e| wire::Endpoint {
                address: address_to_wire(e.address),
                ports: e
                    .ports
                    .iter()
                    .map(|p| wire::PortMapping {
                        service_port: p.service_port.into(),
                        target_port: p.target_port.into(),
                    })
                    .collect(),
                workload: e.workload.as_ref().map(ToString::to_string).unwrap_or_default(),
                ready: e.is_ready,
            })
            .collect(),
    }
}

pub(crate) fn endpoints_from_wire(message: &wire::Endpoints) -> Result<EndpointSet, ConvertError> {
    let endpoints = message
        .endpoints
        .iter()
        .map(endpoint_from_wire)
        .collect::<Result<_, _>>()?;
    Ok(EndpointSet {
        service: resource_name(&message.namespace, &message.name)?,
        endpoints,
    })
}

fn endpoint_from_wire(message: &wire::Endpoint) -> Result<Endpoint, ConvertError> {
    let ports = message
        .ports
        .iter()
        .map(|p| {
            Ok(PortMapping {
                service_port: port_from_wire("endpoints.ports.service_port", p.service_port)?,
                target_port: port_from_wire("endpoints.ports.target_port", p.target_port)?,
            })
        })
        .collect::<Result<_, ConvertError>>()?;
    let workload = match message.workload.as_str() {
        "" => None,
        name => Some(name.parse().map_err(|source| ConvertError::Name {
            field: "endpoints.workload",
            source,
        })?),
    };
    Ok(Endpoint {
        address: address_from_wire("endpoints.address", &message.address)?,
        ports,
        workload,
        is_ready: message.ready,
        weight: 1,
        locality: Locality::default(),
    })
}

fn protocol_to_wire(protocol: AppProtocol) -> wire::AppProtocol {
    match protocol {
        AppProtocol::Undeclared => wire::AppProtocol::Unspecified,
        AppProtocol::Tcp => wire::AppProtocol::Tcp,
        AppProtocol::Tls => wire::AppProtocol::Tls,
        AppProtocol::Http1 => wire::AppProtocol::Http1,
        AppProtocol::Http2 => wire::AppProtocol::Http2,
        AppProtocol::Grpc => wire::AppProtocol::Grpc,
    }
}

fn protocol_from_wire(protocol: i32) -> Result<AppProtocol, ConvertError> {
    match wire::AppProtocol::try_from(protocol) {
        Ok(wire::AppProtocol::Unspecified) => Ok(AppProtocol::Undeclared),
        Ok(wire::AppProtocol::Tcp) => Ok(AppProtocol::Tcp),
        Ok(wire::AppProtocol::Tls) => Ok(AppProtocol::Tls),
        Ok(wire::AppProtocol::Http1) => Ok(AppProtocol::Http1),
        Ok(wire::AppProtocol::Http2) => Ok(AppProtocol::Http2),
        Ok(wire::AppProtocol::Grpc) => Ok(AppProtocol::Grpc),
        Err(_) => Err(value("ports.protocol", format!("unknown value {protocol}"))),
    }
}

//! `nodemesh.v1.Service` and `nodemesh.v1.Endpoints`.

use std::sync::{Arc, LazyLock};

use mesh_model::{AppProtocol, Endpoint, EndpointSet, PortMapping, PortPolicy, Service, ServicePort};

use super::policy;
use super::workload::{locality_from_wire, locality_to_wire};
use super::{
    ConvertError, address_from_wire, address_to_wire, each, port_from_wire, reference, resource_name, value,
    wire,
};

/// The policy of ports that have none, once for all of them: most ports of a large mesh.
static DEFAULT_POLICY: LazyLock<Arc<PortPolicy>> = LazyLock::new(Arc::default);

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
                policy: policy::port_to_wire(&p.policy),
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
    let ports = each("ports", message.ports, port_of_service_from_wire)?;
    Ok(Service {
        name: resource_name(&message.namespace, &message.name)?,
        addresses,
        ports,
    })
}

fn port_of_service_from_wire(message: wire::ServicePort) -> Result<ServicePort, ConvertError> {
    Ok(ServicePort {
        port: port_from_wire("port", message.port)?,
        protocol: protocol_from_wire(message.protocol)?,
        name: message.name,
        policy: match message.policy {
            Some(message) => {
                Arc::new(policy::port_from_wire(message).map_err(|error| error.within("policy"))?)
            }
            None => Arc::clone(&DEFAULT_POLICY),
        },
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
                weight: (e.weight != 1).then_some(e.weight),
                locality: locality_to_wire(&e.locality),
            })
            .collect(),
    }
}

pub(crate) fn endpoints_from_wire(message: wire::Endpoints) -> Result<EndpointSet, ConvertError> {
    Ok(EndpointSet {
        service: resource_name(&message.namespace, &message.name)?,
        endpoints: each("endpoints", message.endpoints, endpoint_from_wire)?,
    })
}

fn endpoint_from_wire(message: wire::Endpoint) -> Result<Endpoint, ConvertError> {
    let ports = each("ports", message.ports, |p| {
        Ok(PortMapping {
            service_port: port_from_wire("service_port", p.service_port)?,
            target_port: port_from_wire("target_port", p.target_port)?,
        })
    })?;
    let workload = match message.workload.as_str() {
        "" => None,
        name => Some(reference("workload", name)?),
    };
    Ok(Endpoint {
        address: address_from_wire("address", &message.address)?,
        ports,
        workload,
        is_ready: message.ready,
        weight: message.weight.unwrap_or(1),
        locality: locality_from_wire(message.locality),
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
        Err(_) => Err(value("protocol", format!("unknown value {protocol}"))),
    }
}

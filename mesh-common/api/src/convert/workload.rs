//! `nodemesh.v1.Workload`.

use mesh_model::{Attachment, Locality, NetworkMode, NodeName, Tunnel, Workload, WorkloadPort};

use super::{ConvertError, address_from_wire, address_to_wire, port_from_wire, resource_name, value, wire};

pub(crate) fn to_wire(workload: &Workload) -> wire::Workload {
    let network = match workload.network {
        NetworkMode::Own => wire::NetworkMode::Own,
        NetworkMode::Host => wire::NetworkMode::Host,
    };
    let tunnel = match workload.tunnel {
        Tunnel::None => wire::Tunnel::None,
        Tunnel::Hbone => wire::Tunnel::Hbone,
    };
    wire::Workload {
        namespace: workload.name.namespace().to_owned(),
        name: workload.name.name().to_owned(),
        node: workload.node.to_string(),
        identity: workload.identity.to_string(),
        addresses: workload.addresses.iter().copied().map(address_to_wire).collect(),
        network: network.into(),
        tunnel: tunnel.into(),
        ports: workload
            .ports
            .iter()
            .map(|p| wire::WorkloadPort {
                name: p.name.clone(),
                port: p.port.into(),
            })
            .collect(),
        labels: workload.labels.clone(),
        attachment: workload.attachment.as_ref().map(|a| wire::Attachment {
            cgroup: a.cgroup.clone(),
            network_namespace: a.network_namespace.clone().unwrap_or_default(),
        }),
        locality: locality_to_wire(&workload.locality),
    }
}

pub(crate) fn from_wire(message: wire::Workload) -> Result<Workload, ConvertError> {
    let network = match message.network() {
        wire::NetworkMode::Own => NetworkMode::Own,
        wire::NetworkMode::Host => NetworkMode::Host,
        wire::NetworkMode::Unspecified => {
            return Err(value("network", format!("unknown value {}", message.network)));
        }
    };
    let tunnel = match message.tunnel() {
        wire::Tunnel::None => Tunnel::None,
        wire::Tunnel::Hbone => Tunnel::Hbone,
        wire::Tunnel::Unspecified => {
            return Err(value("tunnel", format!("unknown value {}", message.tunnel)));
        }
    };
    let addresses = message
        .addresses
        .iter()
        .map(|bytes| address_from_wire("addresses", bytes))
        .collect::<Result<Vec<_>, _>>()?;
    if addresses.is_empty() {
        return Err(value("addresses", "there is none"));
    }
    let ports = message
        .ports
        .into_iter()
        .map(|p| {
            Ok(WorkloadPort {
                port: port_from_wire("ports.port", p.port)?,
                name: p.name,
            })
        })
        .collect::<Result<_, ConvertError>>()?;
    Ok(Workload {
        name: resource_name(&message.namespace, &message.name)?,
        node: NodeName::new(&message.node).map_err(|source| ConvertError::Name {
            field: "node".to_owned(),
            source,
        })?,
        identity: message
            .identity
            .parse()
            .map_err(|source| ConvertError::Identity {
                field: "identity".to_owned(),
                source,
            })?,
        addresses,
        network,
        tunnel,
        ports,
        labels: message.labels,
        locality: locality_from_wire(message.locality),
        attachment: message.attachment.map(attachment_from_wire).transpose()?,
    })
}

/// Absent where it is not known.
pub(super) fn locality_to_wire(locality: &Locality) -> Option<wire::Locality> {
    (*locality != Locality::default()).then(|| wire::Locality {
        region: locality.region().to_owned(),
        zone: locality.zone().to_owned(),
    })
}

pub(super) fn locality_from_wire(message: Option<wire::Locality>) -> Locality {
    let wire::Locality { region, zone } = message.unwrap_or_default();
    Locality::new(region, zone)
}

fn attachment_from_wire(message: wire::Attachment) -> Result<Attachment, ConvertError> {
    let stays_below = |part: &str| !part.is_empty() && part != "." && part != "..";
    if !message.cgroup.split('/').all(stays_below) {
        return Err(value(
            "attachment.cgroup",
            format!("'{}' is no path below the hierarchy", message.cgroup),
        ));
    }
    Ok(Attachment {
        cgroup: message.cgroup,
        network_namespace: Some(message.network_namespace).filter(|path| !path.is_empty()),
    })
}

//! Wire to model and back, once, at the edge.
//!
//! Decoding checks everything that the model promises; what does not hold is refused with the field's name, so
//! that a node never works with half a resource.

mod check;
mod filter;
mod matching;
mod policy;
pub(crate) mod routes;
pub(crate) mod service;
pub(crate) mod trust;
pub(crate) mod workload;

use std::net::IpAddr;

use mesh_model::{Change, IdentityError, NameError, ResourceName, TrustDomain};
use prost::Message as _;

use crate::ResourceType;
use crate::wire::envoy::service::discovery::v3 as discovery;
use crate::wire::nodemesh::v1 as wire;

/// Why a resource from the wire was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// Not a protocol buffer of the type.
    #[error("the bytes are no such message: {0}")]
    Decode(#[from] prost::DecodeError),
    /// A name or an identity does not parse.
    #[error("field {field}: {source}")]
    Name {
        /// The field.
        field: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// An identity does not parse.
    #[error("field {field}: {source}")]
    Identity {
        /// The field.
        field: String,
        /// What is wrong with it.
        source: IdentityError,
    },
    /// A field has a value that its type allows and its meaning does not.
    #[error("field {field}: {reason}")]
    Value {
        /// The field.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The resource is not the one that its envelope names.
    #[error("the resource is named '{named}' and says that it is '{says}'")]
    Misnamed {
        /// The envelope's name.
        named: String,
        /// The content's.
        says: String,
    },
}

/// Reads a resource of a response. The error says which field is wrong.
pub fn decode(resource_type: ResourceType, resource: &discovery::Resource) -> Result<Change, ConvertError> {
    let body = resource
        .resource
        .as_ref()
        .ok_or_else(|| value("resource", "is missing"))?;
    if body.type_url != resource_type.type_url() {
        return Err(value(
            "resource.type_url",
            format!("is '{}', not the response's", body.type_url),
        ));
    }
    let body = body.value.as_slice();
    let (says, change) = match resource_type {
        ResourceType::Workload => {
            let workload = workload::from_wire(wire::Workload::decode(body)?)?;
            (workload.name.to_string(), Change::Workload(workload))
        }
        ResourceType::Service => {
            let service = service::from_wire(wire::Service::decode(body)?)?;
            (service.name.to_string(), Change::Service(service))
        }
        ResourceType::Endpoints => {
            let set = service::endpoints_from_wire(wire::Endpoints::decode(body)?)?;
            (set.service.to_string(), Change::Endpoints(set))
        }
        ResourceType::TrustBundle => {
            let bundle = trust::from_wire(wire::TrustBundle::decode(body)?)?;
            (bundle.trust_domain.to_string(), Change::Trust(bundle))
        }
        ResourceType::Routes => {
            let routes = routes::from_wire(wire::Routes::decode(body)?)?;
            (routes.service.to_string(), Change::Routes(routes))
        }
    };
    if says == resource.name {
        Ok(change)
    } else {
        Err(ConvertError::Misnamed {
            named: resource.name.clone(),
            says,
        })
    }
}

/// Reads the removal of a resource; `None` for a trust bundle, which is replaced and never removed.
pub fn decode_removal(resource_type: ResourceType, name: &str) -> Result<Option<Change>, ConvertError> {
    let parse = || {
        name.parse::<ResourceName>().map_err(|source| ConvertError::Name {
            field: "removed_resources".to_owned(),
            source,
        })
    };
    Ok(Some(match resource_type {
        ResourceType::Workload => Change::WorkloadRemoved(parse()?),
        ResourceType::Service => Change::ServiceRemoved(parse()?),
        ResourceType::Endpoints => Change::EndpointsRemoved(parse()?),
        ResourceType::Routes => Change::RoutesRemoved(parse()?),
        ResourceType::TrustBundle => return Ok(None),
    }))
}

fn value(field: &str, reason: impl Into<String>) -> ConvertError {
    ConvertError::Value {
        field: field.to_owned(),
        reason: reason.into(),
    }
}

fn resource_name(namespace: &str, name: &str) -> Result<ResourceName, ConvertError> {
    ResourceName::new(namespace, name).map_err(|source| ConvertError::Name {
        field: "namespace, name".to_owned(),
        source,
    })
}

/// A name that is written "namespace/name".
fn reference(field: &str, name: &str) -> Result<ResourceName, ConvertError> {
    name.parse().map_err(|source| ConvertError::Name {
        field: field.to_owned(),
        source,
    })
}

fn trust_domain(name: &str) -> Result<TrustDomain, ConvertError> {
    TrustDomain::new(name).map_err(|source| ConvertError::Identity {
        field: "trust_domain".to_owned(),
        source,
    })
}

fn address_to_wire(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn address_from_wire(field: &str, bytes: &[u8]) -> Result<IpAddr, ConvertError> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Ok(octets.into());
    }
    match <[u8; 16]>::try_from(bytes) {
        Ok(octets) => Ok(IpAddr::from(octets).to_canonical()),
        Err(_) => Err(value(
            field,
            format!("an address has {} bytes, not 4 or 16", bytes.len()),
        )),
    }
}

fn port_from_wire(field: &str, port: u32) -> Result<u16, ConvertError> {
    match u16::try_from(port) {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(value(field, format!("{port} is no port from 1 to 65535"))),
    }
}

/// Converts each item; an error names the item's place in the field.
fn each<T, U>(
    field: &str,
    items: impl IntoIterator<Item = T>,
    convert: impl Fn(T) -> Result<U, ConvertError>,
) -> Result<Vec<U>, ConvertError> {
    let numbered = items.into_iter().enumerate();
    numbered
        .map(|(index, item)| convert(item).map_err(|error| error.within(&format!("{field}[{index}]"))))
        .collect()
}

// === impl ConvertError ===

impl ConvertError {
    /// The same error of a field inside another one.
    fn within(mut self, outer: &str) -> Self {
        match &mut self {
            Self::Name { field, .. } | Self::Identity { field, .. } | Self::Value { field, .. } => {
                *field = format!("{outer}.{field}");
            }
            Self::Decode(_) | Self::Misnamed { .. } => {}
        }
        self
    }
}

#[cfg(test)]
mod tests;

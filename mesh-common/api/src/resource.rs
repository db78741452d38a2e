//! Resources as the discovery service carries them: typed, named, versioned bytes.

use mesh_model::{EndpointSet, Service, ServiceRoutes, TrustBundle, Workload};
use prost::Message as _;
use prost_types::Any;
use sha2::{Digest as _, Sha256};

use crate::convert;
use crate::wire::envoy::service::discovery::v3 as discovery;

/// The kinds of resource that the discovery service carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceType {
    /// Roots of the trust domain.
    TrustBundle,
    /// Workloads.
    Workload,
    /// Services without their endpoints.
    Service,
    /// Endpoints, one resource a Service.
    Endpoints,
    /// Routes, one resource a Service that is the parent of any.
    Routes,
}

/// A resource ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedResource {
    /// Its kind.
    pub resource_type: ResourceType,
    /// Its name within the kind.
    pub name: String,
    /// A digest of its content: equal content has an equal version, whoever encoded it and when.
    pub version: String,
    body: Vec<u8>,
}

// === impl ResourceType ===

impl ResourceType {
    /// Every kind, in the order in which a new subscriber wants them: what others refer to comes first.
    pub const ALL: [ResourceType; 5] = [
        Self::TrustBundle,
        Self::Workload,
        Self::Service,
        Self::Endpoints,
        Self::Routes,
    ];

    /// The type URL on the wire.
    pub fn type_url(self) -> &'static str {
        match self {
            Self::TrustBundle => "type.googleapis.com/nodemesh.v1.TrustBundle",
            Self::Workload => "type.googleapis.com/nodemesh.v1.Workload",
            Self::Service => "type.googleapis.com/nodemesh.v1.Service",
            Self::Endpoints => "type.googleapis.com/nodemesh.v1.Endpoints",
            Self::Routes => "type.googleapis.com/nodemesh.v1.Routes",
        }
    }

    /// The kind of a type URL.
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    /// A short name, for logs and metric labels.
    pub fn label(self) -> &'static str {
        match self {
            Self::TrustBundle => "trust_bundle",
            Self::Workload => "workload",
            Self::Service => "service",
            Self::Endpoints => "endpoints",
            Self::Routes => "routes",
        }
    }
}

// === impl EncodedResource ===

impl EncodedResource {
    /// A workload, with its attachment if it has one.
    pub fn workload(workload: &Workload) -> Self {
        let body = convert::workload::to_wire(workload).encode_to_vec();
        Self::new(ResourceType::Workload, workload.name.to_string(), body)
    }

    /// A Service.
    pub fn service(service: &Service) -> Self {
        let body = convert::service::to_wire(service).encode_to_vec();
        Self::new(ResourceType::Service, service.name.to_string(), body)
    }

    /// The endpoints of a Service.
    pub fn endpoints(set: &EndpointSet) -> Self {
        let body = convert::service::endpoints_to_wire(set).encode_to_vec();
        Self::new(ResourceType::Endpoints, set.service.to_string(), body)
    }

    /// The routes whose parent is one Service.
    pub fn routes(routes: &ServiceRoutes) -> Self {
        let body = convert::routes::to_wire(routes).encode_to_vec();
        Self::new(ResourceType::Routes, routes.service.to_string(), body)
    }

    /// A trust bundle.
    pub fn trust(bundle: &TrustBundle) -> Self {
        let body = convert::trust::to_wire(bundle).encode_to_vec();
        Self::new(ResourceType::TrustBundle, bundle.trust_domain.to_string(), body)
    }

    fn new(resource_type: ResourceType, name: String, body: Vec<u8>) -> Self {
        // 64 bits tell the versions of one resource apart; they are compared for equality only.
        let digest = Sha256::digest(&body);
        let first = digest
            .iter()
            .take(8)
            .fold(0_u64, |all, byte| (all << 8) | u64::from(*byte));
        let version = format!("{first:016x}");
        Self {
            resource_type,
            name,
            version,
            body,
        }
    }

    /// Size of the content in bytes.
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Whether the content has no bytes.
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// The discovery service's form of it.
    pub fn to_wire(&self) -> discovery::Resource {
        discovery::Resource {
            version: self.version.clone(),
            name: self.name.clone(),
            resource: Some(Any {
                type_url: self.resource_type.type_url().to_owned(),
                value: self.body.clone(),
            }),
        }
    }
}

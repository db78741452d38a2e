//! A small world for tests: one Service, `a/s`, with port 80.

use std::net::SocketAddr;
use std::sync::Arc;

use mesh_model::{
    BackendPolicy, Balancing, Change, Diff, Endpoint, EndpointSet, Locality, PortMapping, PortPolicy,
    ResourceName, Snapshot, fixture,
};

use super::{Backend, Backends, Demand, EndpointState, Pick, Touched};

/// The Service's address.
pub(super) const ASKED: &str = "10.96.0.1:80";

/// The Service and its backend.
pub(super) struct World {
    pub(super) backends: Backends,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) backend: Arc<Backend>,
}

// === impl World ===

impl World {
    /// With this policy and these endpoints, which the backend finds when it is bound.
    pub(super) fn new(policy: BackendPolicy, endpoints: Vec<Endpoint>) -> Self {
        let mut world = Self::unbound();
        world.apply(vec![service(policy), set(endpoints)]);
        world.backend = world.backends.bind(&name(), 80);
        world
    }

    /// Empty.
    pub(super) fn unbound() -> Self {
        let backends = Backends::new();
        Self {
            backend: backends.bind(&"nobody/asks".parse().unwrap(), 1),
            snapshot: Arc::default(),
            backends,
        }
    }

    /// As the store does.
    pub(super) fn apply(&mut self, changes: Vec<Change>) {
        let diff = Diff::from(changes);
        let touched = Touched::by(&diff);
        self.snapshot = Arc::new(self.snapshot.apply(diff));
        self.backends.refresh(&self.snapshot, &touched);
    }
}

/// The Service's name.
pub(super) fn name() -> ResourceName {
    "a/s".parse().unwrap()
}

/// The Service with a policy.
pub(super) fn service(policy: BackendPolicy) -> Change {
    let mut service = fixture::service("a/s", "10.96.0.1", &[80]);
    service.ports[0].policy = Arc::new(PortPolicy {
        backend: policy,
        ..PortPolicy::default()
    });
    Change::Service(service)
}

/// Its endpoints.
pub(super) fn set(endpoints: Vec<Endpoint>) -> Change {
    Change::Endpoints(EndpointSet {
        service: name(),
        endpoints,
    })
}

/// Ready endpoint number `n`: 10.0.x.y:8080, no workload, weight 1.
pub(super) fn endpoint(n: usize) -> Endpoint {
    let [.., high, low] = u32::try_from(n).unwrap().to_be_bytes();
    Endpoint {
        address: [10, 0, high, low].into(),
        ports: vec![PortMapping {
            service_port: 80,
            target_port: 8080,
        }],
        workload: None,
        is_ready: true,
        weight: 1,
        locality: Locality::default(),
    }
}

/// So many ready endpoints.
pub(super) fn endpoints(count: usize) -> Vec<Endpoint> {
    (0..count).map(endpoint).collect()
}

/// The number of the endpoint with this address.
pub(super) fn number(address: SocketAddr) -> usize {
    let std::net::IpAddr::V4(ip) = address.ip() else {
        panic!("an IPv4 address");
    };
    let [_, _, high, low] = ip.octets();
    usize::from(u16::from_be_bytes([high, low]))
}

/// A policy that only says how to balance.
pub(super) fn balancing(balancing: Balancing) -> BackendPolicy {
    BackendPolicy {
        balancing,
        ..BackendPolicy::default()
    }
}

/// A locality.
pub(super) fn locality(region: &str, zone: &str) -> Locality {
    Locality::new(region, zone)
}

/// A request without anything special.
pub(super) fn pick<'a>(tried: &'a [Arc<EndpointState>], locality: &'a Locality) -> Pick<'a> {
    Pick {
        asked: ASKED.parse().unwrap(),
        locality,
        hash: None,
        affinity: None,
        tried,
        demand: Demand::Request,
    }
}

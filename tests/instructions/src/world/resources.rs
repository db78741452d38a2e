//! Workloads, a Service, its endpoint and its route, with names as they are in clusters.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use mesh_model::{
    AppProtocol, BackendTarget, Change, Endpoint, EndpointSet, HttpMatch, HttpRule, Identity, Locality,
    NetworkMode, NodeName, PathMatch, PortMapping, PortPolicy, RequestPolicy, ResourceName, RouteGroup,
    RouteRules, RuleName, Service, ServicePort, ServiceRoutes, TextMatch, TrustDomain, Tunnel, ValueMatch,
    WeightedBackend, Workload,
};

use super::Protocol;

/// The nodes.
pub(super) const NODES: [&str; 2] = ["node-a", "node-b"];
/// The client.
pub(super) const CLIENT: &str = "shop/frontend-6d8f9c7b54-x2k9p";
/// The server.
pub(super) const SERVER: &str = "shop/recommendations-5c7d8f6b9-q8w2z";
/// Where the Service is.
pub(super) const SERVICE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 17), PORT));
/// Of identities.
pub(super) const TRUST_DOMAIN: &str = "cluster.local";

const PORT: u16 = 80;
const SERVICE_NAME: &str = "shop/recommendations";

/// The identity of a workload: its service account has the name without what a Deployment appends.
pub(super) fn identity(workload: &str) -> Result<Identity> {
    let name: ResourceName = workload.parse()?;
    let account = name.name().split('-').next().unwrap_or_default();
    Ok(Identity::new(
        TrustDomain::new(TRUST_DOMAIN)?,
        name.namespace(),
        account,
    )?)
}

/// All of it; the server is on `node`.
pub(super) fn world(protocol: Protocol, server: SocketAddr, node: &str) -> Result<Vec<Change>> {
    let service: ResourceName = SERVICE_NAME.parse()?;
    let mut world = vec![
        Change::Workload(workload(
            CLIENT,
            NODES.first().copied().context("a node")?,
            Ipv4Addr::new(10, 1, 0, 9).into(),
        )?),
        Change::Workload(workload(SERVER, node, server.ip())?),
        Change::Service(Service {
            name: service.clone(),
            addresses: vec![SERVICE.ip()],
            ports: vec![ServicePort {
                name: String::new(),
                port: PORT,
                protocol: match protocol {
                    Protocol::Bytes => AppProtocol::Tcp,
                    Protocol::Http1 => AppProtocol::Http1,
                    Protocol::Http2 => AppProtocol::Http2,
                    Protocol::Grpc => AppProtocol::Grpc,
                },
                policy: Arc::new(PortPolicy::default()),
            }],
        }),
        Change::Endpoints(EndpointSet {
            service: service.clone(),
            endpoints: vec![Endpoint {
                address: server.ip(),
                ports: vec![PortMapping {
                    service_port: PORT,
                    target_port: server.port(),
                }],
                workload: Some(SERVER.parse()?),
                is_ready: true,
                weight: 1,
                locality: Locality::default(),
            }],
        }),
    ];
    if protocol != Protocol::Bytes {
        world.push(Change::Routes(routes(&service)?));
    }
    Ok(world)
}

fn workload(name: &str, node: &str, address: std::net::IpAddr) -> Result<Workload> {
    Ok(Workload {
        name: name.parse()?,
        node: NodeName::new(node)?,
        identity: identity(name)?,
        addresses: vec![address],
        network: NetworkMode::Own,
        tunnel: Tunnel::Hbone,
        ports: Vec::new(),
        labels: BTreeMap::new(),
        locality: Locality::default(),
        attachment: None,
    })
}

/// Three rules: one for testers, whom a header tells, one for a part of the paths, and one for the rest. The requests
/// fall under the second, calls of gRPC under the last.
fn routes(service: &ResourceName) -> Result<ServiceRoutes> {
    let header = ValueMatch {
        name: "x-canary".to_owned(),
        value: TextMatch::Exact("always".to_owned()),
    };
    let testers = HttpMatch {
        path: PathMatch::Prefix("/api/v2".to_owned()),
        headers: vec![header],
        ..HttpMatch::any()
    };
    let part = HttpMatch {
        path: PathMatch::Prefix("/api/v2".to_owned()),
        ..HttpMatch::any()
    };
    let rules = [testers, part, HttpMatch::any()]
        .into_iter()
        .enumerate()
        .map(|(number, condition)| rule(service, number, condition))
        .collect::<Result<_>>()?;
    Ok(ServiceRoutes {
        service: service.clone(),
        groups: vec![RouteGroup {
            port: PORT,
            consumer: None,
            rules: RouteRules::Http(rules),
        }],
    })
}

fn rule(service: &ResourceName, number: usize, condition: HttpMatch) -> Result<HttpRule> {
    Ok(HttpRule {
        name: Arc::new(RuleName {
            route: "shop/recommendations-canary".parse()?,
            rule: number.to_string(),
        }),
        matches: vec![condition],
        filters: Vec::new(),
        backends: vec![WeightedBackend {
            weight: 1,
            target: BackendTarget::Service {
                service: service.clone(),
                port: PORT,
            },
            filters: Vec::new(),
        }],
        policy: RequestPolicy::default(),
    })
}

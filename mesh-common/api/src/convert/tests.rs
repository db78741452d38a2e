//! Every resource survives the wire; what the model forbids does not get through.

mod generate;
mod traffic;

use mesh_model::{
    AppProtocol, Attachment, Endpoint, EndpointSet, NetworkMode, PortMapping, Service, ServicePort,
    TrustBundle, Tunnel, Workload, WorkloadPort, fixture,
};
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::EncodedResource;

fn names() -> impl Strategy<Value = String> {
    ("[a-z]{1,8}", "[a-z][a-z0-9]{0,8}").prop_map(|(namespace, name)| format!("{namespace}/{name}"))
}

fn addresses() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(|b| IpAddr::from(b).to_canonical())
    ]
}

fn workloads() -> impl Strategy<Value = Workload> {
    (
        names(),
        prop::collection::vec(addresses(), 1..4),
        any::<bool>(),
        any::<bool>(),
        prop::collection::vec(("[a-z]{0,5}", 1..=u16::MAX), 0..3),
        prop::collection::btree_map("[a-z]{1,5}", "[a-z]{0,5}", 0..3),
        prop::option::of(("[a-z]{1,5}(/[a-z]{1,5})?", prop::option::of("/[a-z]{1,9}"))),
        generate::localities(),
    )
        .prop_map(
            |(name, addresses, is_host, is_enrolled, ports, labels, attachment, locality)| Workload {
                locality,
                addresses,
                network: if is_host {
                    NetworkMode::Host
                } else {
                    NetworkMode::Own
                },
                tunnel: if is_enrolled { Tunnel::Hbone } else { Tunnel::None },
                ports: ports
                    .into_iter()
                    .map(|(name, port)| WorkloadPort { name, port })
                    .collect(),
                labels,
                attachment: attachment.map(|(cgroup, network_namespace)| Attachment {
                    cgroup,
                    network_namespace,
                }),
                ..fixture::workload(&name, "node", "10.0.0.1")
            },
        )
}

fn protocols() -> impl Strategy<Value = AppProtocol> {
    prop::sample::select(vec![
        AppProtocol::Undeclared,
        AppProtocol::Tcp,
        AppProtocol::Tls,
        AppProtocol::Http1,
        AppProtocol::Http2,
        AppProtocol::Grpc,
    ])
}

proptest! {
    #[test]
    fn workloads_survive_the_wire(workload in workloads()) {
        let encoded = EncodedResource::workload(&workload);
        let decoded = decode(ResourceType::Workload, &encoded.to_wire()).unwrap();
        prop_assert_eq!(decoded, Change::Workload(workload));
    }

    #[test]
    fn services_survive_the_wire(name in names(), addresses in prop::collection::vec(addresses(), 0..3), ports in prop::collection::vec(("[a-z]{0,5}", 1..=u16::MAX, protocols()), 0..3)) {
        let service = Service {
            name: name.parse().unwrap(),
            addresses,
            ports: ports.into_iter().map(|(name, port, protocol)| ServicePort { name, port, protocol, policy: std::sync::Arc::default() }).collect(),
        };
        let decoded = decode(ResourceType::Service, &EncodedResource::service(&service).to_wire()).unwrap();
        prop_assert_eq!(decoded, Change::Service(service));
    }

    #[test]
    fn endpoints_survive_the_wire(name in names(), endpoints in prop::collection::vec((addresses(), prop::collection::vec((1..=u16::MAX, 1..=u16::MAX), 0..3), prop::option::of(names()), any::<bool>(), any::<u32>(), generate::localities()), 0..4)) {
        let set = EndpointSet {
            service: name.parse().unwrap(),
            endpoints: endpoints
                .into_iter()
                .map(|(address, ports, workload, is_ready, weight, locality)| Endpoint {
                    address,
                    ports: ports.into_iter().map(|(service_port, target_port)| PortMapping { service_port, target_port }).collect(),
                    workload: workload.map(|name| name.parse().unwrap()),
                    is_ready,
                    weight,
                    locality,
                })
                .collect(),
        };
        let decoded = decode(ResourceType::Endpoints, &EncodedResource::endpoints(&set).to_wire()).unwrap();
        prop_assert_eq!(decoded, Change::Endpoints(set));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for resource_type in ResourceType::ALL {
            let mut resource = EncodedResource::service(&fixture::service("shop/web", "10.0.0.1", &[80])).to_wire();
            resource.resource = Some(prost_types::Any { type_url: resource_type.type_url().to_owned(), value: bytes.clone() });
            let decoded = decode(resource_type, &resource);
            prop_assert!(decoded.is_err() || resource_type != ResourceType::TrustBundle);
        }
    }
}

#[test]
fn trust_bundles_survive_the_wire() {
    let bundle = TrustBundle {
        trust_domain: TrustDomain::new("test.local").unwrap(),
        roots: vec![vec![1, 2], vec![3]],
        signer: [7; 32],
    };
    let decoded = decode(
        ResourceType::TrustBundle,
        &EncodedResource::trust(&bundle).to_wire(),
    )
    .unwrap();
    assert_eq!(decoded, Change::Trust(bundle));
    assert_eq!(
        decode_removal(ResourceType::TrustBundle, "test.local").unwrap(),
        None
    );
}

/// A valid workload with one thing changed, as an encoded resource.
fn broken(change: impl FnOnce(&mut wire::Workload)) -> discovery::Resource {
    let mut message = workload::to_wire(&fixture::workload("shop/web", "a", "10.0.0.1"));
    change(&mut message);
    let mut resource = EncodedResource::workload(&fixture::workload("shop/web", "a", "10.0.0.1")).to_wire();
    if let Some(body) = resource.resource.as_mut() {
        body.value = message.encode_to_vec();
    }
    resource
}

#[test]
fn refusals_name_the_field() {
    let refusal = |resource| decode(ResourceType::Workload, &resource).unwrap_err().to_string();
    assert!(refusal(broken(|w| w.addresses.clear())).starts_with("field addresses:"));
    assert!(refusal(broken(|w| w.addresses[0] = vec![1, 2, 3])).starts_with("field addresses:"));
    assert!(refusal(broken(|w| w.network = 9)).starts_with("field network:"));
    assert!(refusal(broken(|w| w.tunnel = 0)).starts_with("field tunnel:"));
    assert!(refusal(broken(|w| w.node = "A".to_owned())).starts_with("field node:"));
    assert!(refusal(broken(|w| w.identity = "spiffe://x".to_owned())).starts_with("field identity:"));
    assert!(
        refusal(broken(|w| w.ports = vec![wire::WorkloadPort {
            name: String::new(),
            port: 65536
        }]))
        .starts_with("field ports.port:")
    );
    for cgroup in ["", "../x", "a//b", "/a", "a/../b"] {
        let attachment = wire::Attachment {
            cgroup: cgroup.to_owned(),
            network_namespace: String::new(),
        };
        assert!(
            refusal(broken(|w| w.attachment = Some(attachment))).starts_with("field attachment.cgroup:"),
            "{cgroup}"
        );
    }
    assert!(refusal(broken(|w| w.name = "other".to_owned())).contains("shop/other"));
}

#[test]
fn equal_content_has_an_equal_version() {
    let workload = fixture::workload("shop/web", "a", "10.0.0.1");
    let mut other = workload.clone();
    assert_eq!(
        EncodedResource::workload(&workload).version,
        EncodedResource::workload(&other).version
    );
    other.labels.insert("app".to_owned(), "web".to_owned());
    assert_ne!(
        EncodedResource::workload(&workload).version,
        EncodedResource::workload(&other).version
    );
}

//! What joins, what does not fit together, and the words that say so.

mod endpoint;

use std::path::Path;

use mesh_model::{AppProtocol, Locality, NetworkMode, NodeName, ResourceName, Tunnel, WorkloadPort};

use super::*;
use crate::world::{Namespace, Service, ServicePort, Slice, SliceEndpoint, SlicePort, TargetPort, Workload};

fn name(text: &str) -> ResourceName {
    text.parse().unwrap()
}

fn sourced<T>(resource: String, line: usize, value: T) -> Sourced<T> {
    let origin = Origin {
        file: Path::new("x.yaml").into(),
        document: line,
        line,
        resource,
    };
    Sourced { origin, value }
}

fn labels(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn namespace(name: &str, mesh: &str) -> Sourced<Namespace> {
    let value = Namespace {
        name: name.to_owned(),
        labels: labels(&[("nodemesh.io/mesh", mesh)]),
    };
    sourced(format!("Namespace {name}"), 1, value)
}

fn workload(text: &str, address: &str) -> Workload {
    Workload {
        name: name(text),
        labels: labels(&[("app", "web")]),
        node: NodeName::new("a").unwrap(),
        service_account: "web".to_owned(),
        addresses: vec![address.parse().unwrap()],
        network: NetworkMode::Own,
        cgroup: Some(text.to_owned()),
        network_namespace: None,
        ports: Vec::new(),
        is_ready: true,
        weight: 1,
        locality: Locality::default(),
    }
}

fn host_workload(text: &str, address: &str, ports: &[(&str, u16)]) -> Workload {
    Workload {
        network: NetworkMode::Host,
        ports: ports
            .iter()
            .map(|(name, port)| WorkloadPort {
                name: (*name).to_owned(),
                port: *port,
            })
            .collect(),
        ..workload(text, address)
    }
}

fn service(text: &str, address: &str, targets: &[(u16, TargetPort)]) -> Service {
    Service {
        name: name(text),
        addresses: vec![address.parse().unwrap()],
        ports: targets
            .iter()
            .enumerate()
            .map(|(index, (port, target))| ServicePort {
                field: format!("spec.ports[{index}]"),
                name: if index == 0 {
                    String::new()
                } else {
                    format!("p{index}")
                },
                port: *port,
                target: target.clone(),
                app_protocol: None,
            })
            .collect(),
        selector: labels(&[("app", "web")]),
        is_publishing_not_ready: false,
    }
}

fn slice(service: &str, port: Option<u16>, endpoints: &[(&[&str], bool)]) -> Slice {
    Slice {
        name: name(&format!("{service}-slice")),
        service: Some(name(service)),
        ports: vec![SlicePort {
            name: String::new(),
            port,
        }],
        endpoints: endpoints
            .iter()
            .enumerate()
            .map(|(index, (addresses, is_ready))| SliceEndpoint {
                field: format!("endpoints[{index}]"),
                addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
                is_ready: *is_ready,
                zone: None,
            })
            .collect(),
    }
}

/// An endpoint: address, ports, workload, ready.
type Shown = (String, Vec<(u16, u16)>, Option<String>, bool);

#[derive(Default)]
struct Given(Inputs);

impl Given {
    fn namespace(mut self, name: &str, mesh: &str) -> Self {
        self.0.namespaces.push(namespace(name, mesh));
        self
    }

    fn workload(mut self, workload: Workload) -> Self {
        let line = 10 * (self.0.workloads.len() + 1);
        let resource = format!("Workload {}", workload.name);
        self.0.workloads.push(sourced(resource, line, workload));
        self
    }

    fn service(mut self, service: Service) -> Self {
        let line = 10 * (self.0.services.len() + 1);
        let resource = format!("Service {}", service.name);
        self.0.services.push(sourced(resource, line, service));
        self
    }

    fn slice(mut self, slice: Slice) -> Self {
        let resource = format!("EndpointSlice {}", slice.name);
        self.0.slices.push(sourced(resource, 1, slice));
        self
    }

    fn join(&self) -> Joined {
        join(&self.0, &TrustDomain::new("test.local").unwrap())
    }

    /// The resources of inputs without an error.
    fn resources(&self) -> Resources {
        let joined = self.join();
        assert!(joined.is_usable(), "{:?}", joined.problems);
        joined.resources
    }

    /// `resource: field: message` of each problem.
    fn problems(&self) -> Vec<String> {
        let problems = self.join().problems.into_iter();
        problems
            .map(|p| {
                format!(
                    "{}: {}: {}: {}",
                    p.severity.label(),
                    p.origin.resource,
                    p.field,
                    p.message
                )
            })
            .collect()
    }

    fn endpoints(&self, service: &str) -> Vec<Shown> {
        let resources = self.resources();
        let set = &resources.endpoints[&name(service)];
        set.endpoints
            .iter()
            .map(|endpoint| {
                let ports = endpoint
                    .ports
                    .iter()
                    .map(|port| (port.service_port, port.target_port));
                let workload = endpoint.workload.as_ref().map(ToString::to_string);
                (
                    endpoint.address.to_string(),
                    ports.collect(),
                    workload,
                    endpoint.is_ready,
                )
            })
            .collect()
    }
}

fn same(port: u16) -> (u16, TargetPort) {
    (port, TargetPort::Same)
}

#[test]
fn the_label_on_a_workload_goes_before_its_namespaces() {
    let with_label = |text: &str, address: &str, mesh: &str| Workload {
        labels: labels(&[("nodemesh.io/mesh", mesh)]),
        ..workload(text, address)
    };
    let resources = Given::default()
        .namespace("in", "enabled")
        .namespace("out", "disabled")
        .workload(workload("in/follows", "10.1.0.1"))
        .workload(with_label("in/opts-out", "10.1.0.2", "disabled"))
        .workload(workload("out/follows", "10.1.0.3"))
        .workload(with_label("out/opts-in", "10.1.0.4", "enabled"))
        .workload(workload("unknown/plain", "10.1.0.5"))
        .resources();
    let enrolled: Vec<String> = resources
        .workloads
        .values()
        .filter(|w| w.tunnel == Tunnel::Hbone)
        .map(|w| w.name.to_string())
        .collect();
    assert_eq!(enrolled, ["in/follows", "out/opts-in"]);
    for workload in resources.workloads.values() {
        assert_eq!(
            workload.attachment.is_some(),
            workload.is_enrolled(),
            "{}",
            workload.name
        );
    }
    let follows = &resources.workloads[&name("in/follows")];
    assert_eq!(follows.identity.to_string(), "spiffe://test.local/ns/in/sa/web");
}

#[test]
fn refuses_an_unknown_value_of_the_label() {
    let problems = Given::default().namespace("shop", "yes").problems();
    assert_eq!(
        problems,
        [
            "error: Namespace shop: metadata.labels[nodemesh.io/mesh]: 'yes' is neither 'enabled' nor 'disabled'"
        ]
    );
}

#[test]
fn refuses_two_owners_of_one_address() {
    let given = Given::default()
        .workload(workload("shop/one", "10.1.0.2"))
        .workload(workload("shop/two", "10.1.0.2"))
        .workload(host_workload("shop/host", "10.1.0.2", &[("", 80)]));
    assert_eq!(
        given.problems(),
        [
            "error: Workload shop/two: spec.addresses[0]: 10.1.0.2 is also an address of Workload shop/one at x.yaml:10",
            "error: Workload shop/host: spec.addresses[0]: 10.1.0.2 is also an address of Workload shop/one at x.yaml:10",
        ]
    );
    let host_first = Given::default()
        .workload(host_workload("shop/host", "10.1.0.2", &[("", 80)]))
        .workload(workload("shop/own", "10.1.0.2"));
    assert_eq!(
        host_first.problems(),
        [
            "error: Workload shop/own: spec.addresses[0]: 10.1.0.2 is also an address of Workload shop/host at x.yaml:10"
        ]
    );
}

#[test]
fn tells_workloads_on_a_nodes_network_apart_by_port() {
    let one = host_workload("shop/one", "10.0.0.1", &[("", 81), ("x", 82)]);
    let good =
        Given::default()
            .workload(one.clone())
            .workload(host_workload("shop/two", "10.0.0.1", &[("", 83)]));
    assert_eq!(good.problems(), Vec::<String>::new());
    let clash =
        Given::default()
            .workload(one.clone())
            .workload(host_workload("shop/two", "10.0.0.1", &[("", 82)]));
    assert_eq!(
        clash.problems(),
        [
            "error: Workload shop/two: spec.ports[0].port: port 82 at 10.0.0.1 also belongs to Workload shop/one at x.yaml:10"
        ]
    );
    let without = Given::default().workload(host_workload("shop/one", "10.0.0.1", &[]));
    assert_eq!(
        without.problems(),
        [
            "error: Workload shop/one: spec.ports: a workload on its node's network is told apart from others there by \
              its ports, and lists none"
        ]
    );
    let elsewhere = Workload {
        node: NodeName::new("b").unwrap(),
        ..host_workload("shop/two", "10.0.0.1", &[("", 83)])
    };
    assert_eq!(
        Given::default().workload(one).workload(elsewhere).problems(),
        [
            "error: Workload shop/two: spec.addresses[0]: 10.0.0.1 is an address of node a, says Workload shop/one at x.yaml:10"
        ]
    );
}

#[test]
fn refuses_addresses_that_are_no_hosts() {
    let mut many = workload("shop/one", "10.0.0.1");
    many.addresses = [
        "0.0.0.0",
        "::1",
        "224.0.0.1",
        "255.255.255.255",
        "fe80::1",
        "fd00::1",
    ]
    .map(|text| text.parse().unwrap())
    .to_vec();
    let problems = Given::default().workload(many).problems();
    let kinds: Vec<&str> = problems
        .iter()
        .map(|problem| problem.rsplit_once(" is ").unwrap().1)
        .collect();
    assert_eq!(
        kinds,
        [
            "the unspecified address",
            "a loopback address, which the mesh leaves alone",
            "a multicast address",
            "the broadcast address",
            "a link-local address, which means another host on each link",
        ]
    );
}

#[test]
fn refuses_two_resources_of_one_name() {
    let given = Given::default()
        .namespace("shop", "enabled")
        .namespace("shop", "disabled")
        .workload(workload("shop/one", "10.1.0.2"))
        .workload(workload("shop/one", "10.1.0.3"))
        .service(service("shop/web", "10.96.0.1", &[same(80)]))
        .service(service("shop/web", "10.96.0.2", &[same(80)]));
    assert_eq!(
        given.problems(),
        [
            "error: Namespace shop: metadata.name: Namespace shop is also defined at x.yaml:1",
            "error: Workload shop/one: metadata.name: Workload shop/one is also defined at x.yaml:10",
            "error: Service shop/web: metadata.name: Service shop/web is also defined at x.yaml:10",
        ]
    );
}

#[test]
fn refuses_a_virtual_address_that_something_else_has() {
    let given = Given::default()
        .workload(workload("shop/one", "10.1.0.2"))
        .service(service("shop/a", "10.96.0.1", &[same(80)]))
        .service(service("shop/b", "10.96.0.1", &[same(80)]))
        .service(service("shop/c", "10.1.0.2", &[same(80)]));
    assert_eq!(
        given.problems(),
        [
            "error: Service shop/b: spec.clusterIP: 10.96.0.1 is also an address of Service shop/a at x.yaml:10",
            "error: Service shop/c: spec.clusterIP: 10.1.0.2 is also an address of Workload shop/one at x.yaml:10",
        ]
    );
}

#[test]
fn refuses_cgroups_that_do_not_tell_workloads_apart() {
    let at = |text: &str, address: &str, node: &str, cgroup: &str| Workload {
        cgroup: Some(cgroup.to_owned()),
        node: NodeName::new(node).unwrap(),
        ..workload(text, address)
    };
    let given = Given::default()
        .workload(at("shop/one", "10.1.0.1", "a", "shop/web"))
        .workload(at("shop/two", "10.1.0.2", "a", "shop/web"))
        .workload(at("shop/three", "10.1.0.3", "a", "shop/web/worker"))
        .workload(at("shop/four", "10.1.0.4", "a", "shop/web-2"))
        .workload(at("shop/five", "10.1.0.5", "b", "shop/web"));
    assert_eq!(
        given.problems(),
        [
            "error: Workload shop/two: spec.cgroup: cgroup shop/web of node a also belongs to Workload shop/one at x.yaml:10",
            "error: Workload shop/three: spec.cgroup: cgroup shop/web/worker of node a lies within shop/web, which belongs \
              to Workload shop/one at x.yaml:10",
        ]
    );
}

#[test]
fn an_enrolled_workload_needs_a_cgroup_and_leaves_the_meshs_ports_alone() {
    let without = Workload {
        cgroup: None,
        ports: vec![WorkloadPort {
            name: String::new(),
            port: 15008,
        }],
        ..workload("shop/one", "10.1.0.1")
    };
    assert_eq!(
        Given::default().workload(without.clone()).problems(),
        Vec::<String>::new(),
        "not enrolled"
    );
    assert_eq!(
        Given::default()
            .namespace("shop", "enabled")
            .workload(without)
            .problems(),
        [
            "error: Workload shop/one: spec.cgroup: an enrolled workload needs its cgroup, by which its node finds its \
              processes",
            "error: Workload shop/one: spec.ports[0].port: port 15008 belongs to the mesh within an enrolled workload's \
              network",
        ]
    );
}

#[test]
fn ports_of_a_service_are_named_and_numbered_once() {
    let mut given = Given::default()
        .workload(workload("shop/web-1", "10.1.0.1"))
        .service(service("shop/web", "10.96.0.1", &[same(80), same(80), same(81)]));
    given.0.services[0].value.ports[2].name = "p1".to_owned();
    assert_eq!(
        given.problems(),
        [
            "error: Service shop/web: spec.ports[1].port: port 80 is listed twice",
            "error: Service shop/web: spec.ports[2].name: the name 'p1' is given to two ports",
            "error: Service shop/web: spec.ports[0].name: a Service with several ports needs a name for each",
        ]
    );
}

#[test]
fn protocols_come_from_the_port() {
    let mut given = Given::default()
        .workload(workload("shop/web-1", "10.1.0.1"))
        .service(service("shop/web", "10.96.0.1", &[same(80)]));
    given.0.services[0].value.ports[0].app_protocol = Some("kubernetes.io/h2c".to_owned());
    let resources = given.resources();
    assert_eq!(
        resources.services[&name("shop/web")].ports[0].protocol,
        AppProtocol::Http2
    );
}

#[test]
fn refuses_a_service_account_that_is_no_name() {
    let wrong = Workload {
        service_account: "Web!".to_owned(),
        ..workload("shop/one", "10.1.0.1")
    };
    let problems = Given::default().workload(wrong).problems();
    assert!(
        problems[0].starts_with("error: Workload shop/one: spec.serviceAccount: 'Web!' is no valid name"),
        "{problems:?}"
    );
}

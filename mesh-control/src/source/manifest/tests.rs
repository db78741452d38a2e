//! What each kind takes, and the exact words for what it does not.

pub(super) mod table;

use mesh_model::NetworkMode;

use super::*;
use crate::world::{Severity, TargetPort};

/// The manifests, and each problem as a line.
fn read(text: &str) -> (Vec<Manifest>, Vec<String>) {
    let mut report = Report::default();
    let manifests = parse(Path::new("x.yaml"), text, &mut report);
    (
        manifests,
        report.into_problems().iter().map(ToString::to_string).collect(),
    )
}

fn problems(text: &str) -> Vec<String> {
    read(text).1
}

/// The only manifest, which has no problem.
fn one(text: &str) -> Manifest {
    let (mut manifests, problems) = read(text);
    assert_eq!((manifests.len(), problems), (1, Vec::new()));
    manifests.remove(0)
}

fn workload(spec: &str) -> String {
    format!(
        "apiVersion: nodemesh.io/v1alpha1\nkind: Workload\nmetadata: {{ name: web-1, namespace: shop }}\nspec:\n{spec}"
    )
}

fn service(spec: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{ name: web, namespace: shop }}\nspec:\n{spec}")
}

const WORKLOAD: &str = "  node: a\n  addresses: [10.1.0.2]\n";

#[test]
fn reads_a_whole_workload() {
    let text = workload(
        "  node: node-a\n  serviceAccount: web\n  addresses: [10.1.0.2, 'fd00:1::2', '::ffff:10.1.0.3']\n  hostNetwork: true\n  \
         cgroup: shop/web-1\n  networkNamespace: /run/netns/web-1\n  ports: [{ name: http, port: 8080, protocol: TCP }]\n  \
         ready: false\n  weight: 5\n  locality: { region: north, zone: north-1 }\n",
    );
    let Manifest::Workload(workload) = one(&text) else {
        panic!("no workload")
    };
    assert_eq!(workload.origin.resource, "Workload shop/web-1");
    let workload = workload.value;
    assert_eq!(workload.service_account, "web");
    assert_eq!(
        workload
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["10.1.0.2", "fd00:1::2", "10.1.0.3"]
    );
    assert_eq!(workload.network, NetworkMode::Host);
    assert_eq!(workload.cgroup.as_deref(), Some("shop/web-1"));
    assert_eq!(workload.network_namespace.as_deref(), Some("/run/netns/web-1"));
    assert_eq!(
        (workload.ports[0].name.as_str(), workload.ports[0].port),
        ("http", 8080)
    );
    assert!(!workload.is_ready);
    assert_eq!((workload.weight, workload.locality.zone()), (5, "north-1"));
    assert_eq!(workload.locality.region(), "north");
}

#[test]
fn fills_in_a_short_workload() {
    let text = "apiVersion: nodemesh.io/v1alpha1\nkind: Workload\nmetadata: { name: web }\nspec:\n"
        .to_owned()
        + WORKLOAD;
    let Manifest::Workload(workload) = one(&text) else {
        panic!("no workload")
    };
    let workload = workload.value;
    assert_eq!(workload.name.to_string(), "default/web");
    assert_eq!(workload.service_account, "default");
    assert_eq!(workload.network, NetworkMode::Own);
    assert!(workload.is_ready);
    assert_eq!(
        (workload.weight, workload.locality),
        (1, mesh_model::Locality::default())
    );
    let heavy = text + "  weight: 1000001\n";
    assert!(problems(&heavy)[0].contains("Workload default/web: spec.weight: is out of bounds"));
}

#[test]
fn an_unknown_field_is_named_with_its_line() {
    assert_eq!(
        problems(&workload("  node: a\n  adresses: [10.1.0.2]\n")),
        [
            "error: x.yaml:6 (document 1): Workload shop/web-1: spec.adresses: unknown field `adresses`, expected one of \
             `node`, `serviceAccount`, `addresses`, `hostNetwork`, `cgroup`, `networkNamespace`, `ports`, `ready`, `weight`, \
             `locality`; correct it as docs/manifests.md describes"
        ]
    );
    let typo = service("  clusterIP: 10.96.0.1\n  ports: [{ port: 80, targetport: 8080 }]\n");
    assert!(problems(&typo)[0].starts_with(
        "error: x.yaml:6 (document 1): Service shop/web: spec.ports[0].targetport: unknown field `targetport`, expected"
    ));
}

#[test]
fn wrong_values_are_named_with_their_field() {
    for (spec, field, message) in [
        ("  node: a\n", "spec", "missing field `addresses`"),
        (
            "  node: [a]\n  addresses: []\n",
            "spec.node",
            "invalid type: sequence, expected a string",
        ),
        (
            "  node: A\n  addresses: [10.1.0.2]\n",
            "spec.node",
            "'A' is no valid name",
        ),
        (
            "  node: a\n  addresses: []\n",
            "spec.addresses",
            "a workload needs an address",
        ),
        (
            "  node: a\n  addresses: [10.1.0.2, 10.1.0]\n",
            "spec.addresses[1]",
            "'10.1.0' is no address",
        ),
        (
            "  node: a\n  addresses: ['10.1.0.2:80']\n",
            "spec.addresses[0]",
            "'10.1.0.2:80' is no address",
        ),
        (
            "  node: a\n  addresses: ['10.1.0.0/24']\n",
            "spec.addresses[0]",
            "'10.1.0.0/24' is no address",
        ),
        ("  node: a\n  node: b\n", "spec", "duplicate field `node`"),
    ] {
        let problems = problems(&workload(spec));
        let expected = format!("Workload shop/web-1: {field}: {message}");
        assert!(
            problems.len() == 1 && problems[0].contains(&expected),
            "{expected}\n{problems:?}"
        );
    }
    for (port, message) in [
        ("0", "0 is no port: use 1 to 65535"),
        ("65536", "65536 is no port: use 1 to 65535"),
        ("-1", "-1 is no port: use 1 to 65535"),
        (
            "http",
            "invalid type: string \"http\", expected a port from 1 to 65535",
        ),
    ] {
        let problems = problems(&workload(&format!("{WORKLOAD}  ports: [{{ port: {port} }}]\n")));
        let expected = format!("Workload shop/web-1: spec.ports[0].port: {message}");
        assert!(
            problems.len() == 1 && problems[0].contains(&expected),
            "{expected}\n{problems:?}"
        );
    }
}

#[test]
fn a_cgroup_stays_below_the_mount_point() {
    for (cgroup, wrong) in [
        ("/shop/web", "begins with '/'"),
        ("''", "is the whole hierarchy"),
        ("..", "has an empty part"),
        ("shop/../../etc", "has an empty part"),
        ("shop//web", "has an empty part"),
        ("shop/./web", "has an empty part"),
        ("shop/", "has an empty part"),
        ("\"a\\nb\"", "has an empty part"),
    ] {
        let problems = problems(&workload(&format!("{WORKLOAD}  cgroup: {cgroup}\n")));
        assert!(
            problems.len() == 1 && problems[0].contains("spec.cgroup") && problems[0].contains(wrong),
            "{problems:?}"
        );
    }
    for path in ["run/netns/x", "/run/../x", "/run//x"] {
        let problems = problems(&workload(&format!("{WORKLOAD}  networkNamespace: {path}\n")));
        assert!(
            problems.len() == 1 && problems[0].contains("is no absolute path"),
            "{problems:?}"
        );
    }
    assert_eq!(
        problems(&workload(&format!(
            "{WORKLOAD}  cgroup: system.slice/a..b@1.service\n"
        ))),
        Vec::<String>::new()
    );
}

#[test]
fn takes_a_service_as_kubernetes_shows_it() {
    let text = r#"
apiVersion: v1
kind: Service
metadata:
  annotations: { a: b }
  creationTimestamp: "2026-01-01T00:00:00Z"
  labels: { app: web }
  managedFields: [ { manager: kubectl } ]
  name: web
  namespace: shop
  ownerReferences: []
  resourceVersion: "12"
  uid: 0af3
spec:
  allocateLoadBalancerNodePorts: true
  clusterIP: 10.96.0.1
  clusterIPs: [ 10.96.0.1, fd00:96::1 ]
  externalTrafficPolicy: Cluster
  internalTrafficPolicy: Cluster
  ipFamilies: [ IPv4, IPv6 ]
  ipFamilyPolicy: PreferDualStack
  ports:
  - { appProtocol: http, name: web, nodePort: 30080, port: 80, protocol: TCP, targetPort: http }
  - { name: admin, port: 81, targetPort: 8081 }
  - { name: plain, port: 82 }
  selector: { app: web }
  sessionAffinity: None
  trafficDistribution: PreferClose
  type: LoadBalancer
status:
  loadBalancer: { ingress: [ { ip: 192.0.2.1 } ] }
"#;
    let Manifest::Service(service) = one(text) else {
        panic!("no service")
    };
    let service = service.value;
    assert_eq!(service.addresses.len(), 2);
    let targets: Vec<&TargetPort> = service.ports.iter().map(|port| &port.target).collect();
    assert_eq!(
        targets,
        [
            &TargetPort::Name("http".to_owned()),
            &TargetPort::Number(8081),
            &TargetPort::Same
        ]
    );
    assert_eq!(service.ports[0].app_protocol.as_deref(), Some("http"));
}

#[test]
fn a_service_needs_an_address_of_its_own() {
    let cases = [
        (
            "  ports: []\n",
            "spec.clusterIP: the Service has no address, and the folder source gives out none; set clusterIP",
        ),
        ("  clusterIP: ''\n", "spec.clusterIP: the Service has no address"),
        ("  clusterIP: web\n", "spec.clusterIP: 'web' is no address"),
        (
            "  clusterIPs: [10.96.0.1, x]\n",
            "spec.clusterIPs[1]: 'x' is no address",
        ),
        (
            "  clusterIP: 10.96.0.1\n  clusterIPs: [10.96.0.2]\n",
            "spec.clusterIP: '10.96.0.1' is not the first of",
        ),
        (
            "  clusterIPs: [None, 10.96.0.1]\n",
            "spec.clusterIPs: a headless Service has no other address",
        ),
        (
            "  type: ExternalName\n  externalName: a.b\n",
            "spec.type: an ExternalName Service is an alias in DNS",
        ),
        (
            "  type: Other\n",
            "spec.type: unknown variant `Other`, expected one of `ClusterIP`, `NodePort`",
        ),
    ];
    for (spec, expected) in cases {
        let problems = problems(&service(spec));
        assert!(
            problems.len() == 1 && problems[0].contains(expected),
            "{expected}\n{problems:?}"
        );
    }
    let Manifest::Service(headless) = one(&service("  clusterIP: None\n")) else {
        panic!("no service")
    };
    assert!(headless.value.addresses.is_empty());
}

#[test]
fn ports_of_other_protocols_are_left_out_with_a_note() {
    let mut report = Report::default();
    let text = service("  clusterIP: 10.96.0.1\n  ports: [{ port: 53, protocol: UDP }, { port: 53 }]\n");
    let manifests = parse(Path::new("x.yaml"), &text, &mut report);
    let Some(Manifest::Service(service)) = manifests.first() else {
        panic!("no service")
    };
    assert_eq!(service.value.ports.len(), 1);
    let problems = report.into_problems();
    assert_eq!(problems.len(), 1);
    assert_eq!(
        (problems[0].severity, problems[0].field.as_str()),
        (Severity::Note, "spec.ports[0].protocol")
    );
}

#[test]
fn takes_a_slice_as_kubernetes_shows_it() {
    let text = r"
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  generateName: web-
  generation: 3
  labels: { endpointslice.kubernetes.io/managed-by: x, kubernetes.io/service-name: web }
  name: web-x
  namespace: shop
addressType: IPv4
endpoints:
- addresses: [ 10.1.0.2 ]
  conditions: { ready: true, serving: true, terminating: false }
  hints: { forZones: [ { name: a } ] }
  nodeName: a
  targetRef: { kind: Pod, name: web-1, namespace: shop }
  zone: a
- addresses: [ 10.1.0.3 ]
  conditions: { ready: false }
- addresses: [ 10.1.0.4 ]
ports:
- { appProtocol: http, name: http, port: 8080, protocol: TCP }
- { name: dns, port: 53, protocol: UDP }
";
    let (manifests, problems) = read(text);
    assert_eq!(problems.len(), 1, "only the note about UDP: {problems:?}");
    let Some(Manifest::Slice(slice)) = manifests.first() else {
        panic!("no slice")
    };
    assert_eq!(
        slice.value.service.as_ref().map(ToString::to_string).as_deref(),
        Some("shop/web")
    );
    let ready: Vec<bool> = slice
        .value
        .endpoints
        .iter()
        .map(|endpoint| endpoint.is_ready)
        .collect();
    assert_eq!(ready, [true, false, true], "nothing said means ready");
    assert_eq!(slice.value.endpoints[0].zone.as_deref(), Some("a"));
    assert_eq!(slice.value.endpoints[1].zone, None);
    assert_eq!(slice.value.ports.len(), 1);
}

#[test]
fn a_slice_keeps_to_its_address_type() {
    let slice = |address_type: &str, address: &str| {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{ name: x }}\naddressType: {address_type}\n\
             endpoints: [{{ addresses: ['{address}'] }}]\n"
        )
    };
    let other = problems(&slice("IPv4", "fd00::1"));
    assert!(
        other[0].contains("endpoints[0].addresses[0]: fd00::1 is not of the slice's addressType"),
        "{other:?}"
    );
    assert!(
        problems(&slice("FQDN", "a.b"))[0].contains("addressType: endpoints by DNS name are not known here")
    );
    assert_eq!(problems(&slice("IPv6", "fd00::1")), Vec::<String>::new());
}

#[test]
fn unknown_kinds_and_versions_are_refused() {
    for (version, kind, expected) in [
        (
            "apps/v1",
            "Deployment",
            "kind: 'Deployment' of 'apps/v1' is not known here; the folder takes Namespace, Service",
        ),
        (
            "v2",
            "Service",
            "apiVersion: 'Service' of 'v2' is not known here; write v1",
        ),
        (
            "nodemesh.io/v1",
            "Workload",
            "apiVersion: 'Workload' of 'nodemesh.io/v1' is not known here; write nodemesh.io/v1alpha1",
        ),
        (
            "discovery.k8s.io/v1beta1",
            "EndpointSlice",
            "write discovery.k8s.io/v1",
        ),
        ("v1", "List", "write its items as documents of their own"),
    ] {
        let problems = problems(&format!(
            "apiVersion: {version}\nkind: {kind}\nmetadata: {{ name: x }}\n"
        ));
        assert!(
            problems.len() == 1 && problems[0].contains(expected),
            "{problems:?}"
        );
    }
    assert!(problems("metadata: { name: x }\n")[0].contains("kind: is missing; write a Namespace, Service"));
    assert!(problems("kind: Service\n")[0].contains("apiVersion: is missing"));
    assert!(problems("just text\n")[0].contains("invalid type: string \"just text\""));
}

#[test]
fn invalid_names_are_refused() {
    let text = |metadata: &str| {
        format!("apiVersion: v1\nkind: Service\nmetadata: {metadata}\nspec: {{ clusterIP: None }}\n")
    };
    assert!(problems(&text("{ name: Web }"))[0].contains("metadata.name: 'Web' is no valid name"));
    assert!(
        problems(&text("{ name: web, namespace: a.b }"))[0]
            .contains("metadata.namespace: 'a.b' is no valid name")
    );
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: { name: a.b }\n";
    assert!(problems(namespace)[0].contains("Namespace a.b: metadata.name: 'a.b' is no valid name"));
}

#[test]
fn one_wrong_document_does_not_hide_the_next() {
    let text = format!(
        "# a comment\n---\n{}\n---\n\n# the second\nkind: Nonsense\n--- # separated\nfoo: [\n---\n{}---\n",
        workload(WORKLOAD),
        "apiVersion: v1\nkind: Namespace\nmetadata: { nam: shop }\n"
    );
    let (manifests, problems) = read(&text);
    assert_eq!(manifests.len(), 1);
    let places: Vec<&str> = problems
        .iter()
        .map(|problem| problem.split(": ").nth(1).unwrap())
        .collect();
    assert_eq!(
        places,
        [
            "x.yaml:13 (document 3)",
            "x.yaml:16 (document 4)",
            "x.yaml:19 (document 5)"
        ],
        "{problems:?}"
    );
}

#[test]
fn a_separator_splits_even_within_a_text() {
    let texts: Vec<(&str, usize)> = documents("a: |\n  x\n---\nb: 1\n---x: 2\n")
        .iter()
        .map(|document| (document.text, document.line))
        .collect();
    assert_eq!(texts, [("a: |\n  x\n", 1), ("---\nb: 1\n---x: 2\n", 3)]);
}

proptest::proptest! {
    /// Whatever is in the folder, reading it ends with manifests and problems, never with a panic.
    #[test]
    fn never_panics(text in "(apiVersion: v1\nkind: (Service|Namespace|Workload)\n)?([a-z:{}\\[\\]|&*!'\"#, \n-]|\\PC){0,200}") {
        let (manifests, problems) = read(&text);
        proptest::prop_assert!(manifests.len() <= text.len() && problems.len() <= text.len() + 1);
    }
}

#[test]
fn the_examples_of_the_reference_are_good() {
    let reference = include_str!("../../../../docs/manifests.md");
    let examples: Vec<&str> = reference
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert_eq!(examples.len(), 5);
    for example in examples {
        let (manifests, problems) = read(example);
        assert!(
            manifests.len() > 1 && problems.is_empty(),
            "{problems:?}\n{example}"
        );
    }
}

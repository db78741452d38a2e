//! Which requests a route is for: its parents, their ports, and whose clients.

use mesh_e2e::MOMENT;
use mesh_e2e::ask::Ask;
use mesh_e2e::case::{check, get};
use mesh_e2e::peers::HTTP_PORT;
use mesh_e2e::routes::Route;
use mesh_harness::until;

use crate::HALL;

/// Marks the answers of requests that a route was for.
const MARKED: &str = "
- filters:
  - { type: ResponseHeaderModifier, responseHeaderModifier: { set: [ { name: X-Marked, value: by-the-route } ] } }
";

/// [`MARKED`], and where requests go.
fn marked(backend: &str) -> String {
    format!(
        "{}  backendRefs: [ {{ name: {backend}, port: 8080 }} ]\n",
        MARKED.trim_start()
    )
}

#[test]
fn without_a_route_requests_go_to_the_service() {
    let mut hall = HALL.take();
    let target = hall.service("plain").unwrap();
    let cases = [
        get("/any?where=1")
            .path("/any")
            .query("where=1")
            .host("plain.mesh")
            .lacks("x-mesh-error"),
        get("/").port(8081).version("HTTP/1.1"),
        get("/").port(8081).http2().version("HTTP/2.0"),
        get("/").port(8082).http2().version("HTTP/2.0"),
    ];
    hall.check(&target, &cases).unwrap();
}

#[test]
fn a_route_is_for_its_service_and_not_for_the_pods_behind_it() {
    let mut hall = HALL.take();
    let target = hall.service_of("frontend", "echo-v2", 1).unwrap();
    let route = Route::http("frontend")
        .parent("frontend")
        .rules(&marked("echo-v2"));
    hall.routes(&[route]).unwrap();
    let through = get("/").reaches("echo-v2").has("x-marked", "by-the-route");
    hall.check(&target, &[through]).unwrap();
    let pod = format!("http://{}:{HTTP_PORT}/", hall.v2.v4());
    for client in [&hall.client_a, &hall.client_b] {
        let answer = Ask::get(&pod).send(client).unwrap();
        assert_eq!(
            (answer.status, answer.header("x-marked")),
            (200, None),
            "{answer:?}"
        );
        assert_eq!(answer.seen().unwrap().server(), "echo-v2");
    }
}

#[test]
fn a_route_is_for_all_addresses_of_its_service() {
    let mut hall = HALL.take();
    let target = hall.service("both-families").unwrap();
    let route = Route::http("both-families").parent("both-families");
    hall.routes(&[route.rules(&marked("echo-v2"))]).unwrap();
    let case = get("/").reaches("echo-v2").has("x-marked", "by-the-route");
    hall.check(&target, std::slice::from_ref(&case)).unwrap();
    hall.check(&hall.over_ipv6(&target).unwrap(), &[case]).unwrap();
}

#[test]
fn a_route_is_found_by_the_address_and_not_by_the_host() {
    let mut hall = HALL.take();
    let with = hall.service_of("by-address", "echo-v2", 1).unwrap();
    let without = hall.service_of("by-host", "echo-v1", 1).unwrap();
    let route = Route::http("by-address")
        .parent("by-address")
        .rules(&marked("echo-v2"));
    hall.routes(&[route]).unwrap();
    let foreign = get("/").with("Host: by-host.mesh").reaches("echo-v2");
    hall.check(
        &with,
        &[foreign.host("by-host.mesh").has("x-marked", "by-the-route")],
    )
    .unwrap();
    let other = get("/").with("Host: by-address.mesh").reaches("echo-v1");
    hall.check(&without, &[other.lacks("x-marked")]).unwrap();
}

#[test]
fn host_names_of_a_route_do_not_matter_in_the_mesh() {
    let mut hall = HALL.take();
    let target = hall.service("named-hosts").unwrap();
    let route = Route::http("named-hosts")
        .parent("named-hosts")
        .hostname("elsewhere.example");
    hall.routes(&[route.rules(&marked("echo-v1"))]).unwrap();
    let cases = [
        get("/").reaches("echo-v1").has("x-marked", "by-the-route"),
        get("/")
            .with("Host: elsewhere.example")
            .has("x-marked", "by-the-route"),
        get("/")
            .with("Host: nobody.example")
            .has("x-marked", "by-the-route"),
    ];
    hall.check(&target, &cases).unwrap();
}

#[test]
fn a_route_is_for_one_port_if_it_says_so() {
    let mut hall = HALL.take();
    let one = hall.service_of("one-port", "echo-v1", 1).unwrap();
    let all = hall.service_of("all-ports", "echo-v2", 1).unwrap();
    let named = hall.service_of("named-port", "echo-v1", 1).unwrap();
    let both = hall.service_of("port-and-name", "echo-v1", 1).unwrap();
    hall.routes(&[
        Route::http("one-port")
            .parent_with("one-port", "port: 80")
            .rules(&marked("echo-v1")),
        Route::http("all-ports")
            .parent("all-ports")
            .rules(&marked("echo-v2")),
        Route::http("named-port")
            .parent_with("named-port", "sectionName: other")
            .rules(&marked("echo-v1")),
        Route::http("port-and-name")
            .parent_with("port-and-name", "sectionName: other, port: 8080")
            .rules(&marked("echo-v1")),
    ])
    .unwrap();
    let marked = |port| get("/").port(port).has("x-marked", "by-the-route");
    let unmarked = |port| get("/").port(port).lacks("x-marked");
    hall.check(&one, &[marked(80), unmarked(8080), unmarked(8081)])
        .unwrap();
    hall.check(&all, &[marked(80), marked(8080), marked(8081)])
        .unwrap();
    hall.check(&named, &[marked(8080), unmarked(80)]).unwrap();
    hall.check(&both, &[marked(8080), unmarked(80)]).unwrap();
}

#[test]
fn a_parents_port_that_is_not_there_is_said_and_changes_nothing() {
    let mut hall = HALL.take();
    let target = hall.service_of("no-such-port", "echo-v1", 1).unwrap();
    let routes = [
        Route::http("wrong-port")
            .parent_with("no-such-port", "port: 81")
            .rules(&marked("echo-v1")),
        Route::http("wrong-name")
            .parent_with("no-such-port", "sectionName: nobody")
            .rules(&marked("echo-v1")),
        Route::http("wrong-pair")
            .parent_with("no-such-port", "sectionName: http, port: 8080")
            .rules(&marked("echo-v1")),
        Route::http("no-parent")
            .parent("nobody")
            .rules(&marked("echo-v1")),
    ];
    hall.routes(&routes).unwrap();
    for route in &routes {
        let accepted = hall.condition(route, "Accepted").unwrap();
        assert_eq!(
            (accepted.status.as_str(), accepted.reason.as_str()),
            ("False", "NoMatchingParent"),
            "{accepted:?}"
        );
        assert!(!accepted.message.is_empty());
    }
    hall.check(
        &target,
        &[get("/").lacks("x-marked"), get("/").port(8080).lacks("x-marked")],
    )
    .unwrap();
}

#[test]
fn several_parents_of_one_route_are_served_alike() {
    let mut hall = HALL.take();
    let one = hall.service_of("parent-one", "echo-v1", 1).unwrap();
    let two = hall.service_of("parent-two", "echo-v2", 1).unwrap();
    let route = Route::http("two-parents")
        .parent("parent-one")
        .parent("parent-two");
    let route = route
        .parent_with("parent-two-is-missing", "port: 80")
        .rules(&marked("echo-v1"));
    hall.routes(std::slice::from_ref(&route)).unwrap();
    let case = get("/").reaches("echo-v1").has("x-marked", "by-the-route");
    hall.check(&one, std::slice::from_ref(&case)).unwrap();
    hall.check(&two, &[case]).unwrap();
    // Each parent has a judgement of its own.
    let status = hall.status(&route).unwrap();
    let accepted: Vec<_> = status["parents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|parent| {
            let conditions = parent["conditions"].as_array().unwrap();
            let accepted = conditions.iter().find(|one| one["type"] == "Accepted").unwrap();
            (
                parent["parent"].as_str().unwrap(),
                accepted["status"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("mesh/parent-one", "True"),
        ("mesh/parent-two", "True"),
        ("mesh/parent-two-is-missing", "False"),
    ];
    assert_eq!(accepted, expected);
}

#[test]
fn a_consumers_route_is_for_clients_of_its_own_namespace() {
    let mut hall = HALL.take();
    let target = hall.service_of("consumed", "echo-v1", 1).unwrap();
    // The backend is in another namespace than the route; in the mesh that needs no grant.
    let rules = format!(
        "{}  backendRefs: [ {{ name: echo-v1, namespace: mesh, port: 80 }} ]\n",
        MARKED.trim_start()
    );
    let route = Route::http("consumed")
        .namespace("consumer")
        .parent("consumed")
        .rules(&rules);
    hall.routes(std::slice::from_ref(&route)).unwrap();
    let resolved = hall.condition(&route, "ResolvedRefs").unwrap();
    assert_eq!(resolved.status, "True", "{resolved:?}");
    let with = get("/").reaches("echo-v1").has("x-marked", "by-the-route");
    check(&target, &[&hall.consumer], &[with]).unwrap();
    hall.check(&target, &[get("/").reaches("echo-v1").lacks("x-marked")])
        .unwrap();
}

#[test]
fn a_consumers_routes_replace_the_producers_for_its_own_clients() {
    let mut hall = HALL.take();
    let target = hall.service("both-sides").unwrap();
    let rules = |path: &str, backend: &str| {
        format!(
            "- matches: [ {{ path: {{ type: PathPrefix, value: {path} }} }} ]\n  \
             backendRefs: [ {{ name: {backend}, namespace: mesh, port: 80 }} ]"
        )
    };
    hall.routes(&[
        Route::http("producers")
            .parent("both-sides")
            .rules(&rules("/producer", "echo-v1")),
        Route::http("consumers")
            .namespace("consumer")
            .parent("both-sides")
            .rules(&rules("/consumer", "echo-v2")),
    ])
    .unwrap();
    // The groups do not merge: neither kind of client sees the other's rules.
    let own = [
        get("/consumer").reaches("echo-v2"),
        get("/producer").fails(404, "NR"),
    ];
    check(&target, &[&hall.consumer], &own).unwrap();
    hall.check(
        &target,
        &[
            get("/producer").reaches("echo-v1"),
            get("/consumer").fails(404, "NR"),
        ],
    )
    .unwrap();
}

#[test]
fn a_service_without_a_selector_is_a_parent_like_any_other() {
    let hall = HALL.take();
    let slice = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: by-hand, namespace: mesh }}\n\
         spec: {{ clusterIP: 10.96.2.1, ports: [ {{ name: http, port: 80, appProtocol: http }} ] }}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{ name: by-hand-1, namespace: mesh, labels: {{ kubernetes.io/service-name: by-hand }} }}\n\
         addressType: IPv4\nendpoints: [ {{ addresses: [\"{}\"] }} ]\nports: [ {{ name: http, port: {HTTP_PORT} }} ]\n",
        hall.v2.v4()
    );
    hall.write("by-hand", &slice).unwrap();
    for node in &hall.mesh.nodes {
        node.wait_service("mesh/by-hand", 1).unwrap();
    }
    let target = hall.target("by-hand").unwrap();
    let rules = marked("by-hand").replace("8080", "80");
    hall.routes(&[Route::http("by-hand").parent("by-hand").rules(&rules)])
        .unwrap();
    hall.check(
        &target,
        &[get("/").reaches("echo-v2").has("x-marked", "by-the-route")],
    )
    .unwrap();
}

#[test]
fn routes_of_two_kinds_do_not_merge_and_grpc_goes_first() {
    let mut hall = HALL.take();
    let target = hall.service("two-kinds").unwrap();
    let http = Route::http("two-kinds")
        .parent("two-kinds")
        .rules(&marked("echo-v1"));
    let grpc = Route::grpc("two-kinds")
        .parent_with("two-kinds", "port: 8082")
        .rules(
            "
- matches: [ { method: { service: echo.Echo } } ]
  backendRefs: [ { name: echo-v2, port: 8082 } ]
",
        );
    let lost = Route::http("two-kinds-lost").parent_with("two-kinds", "port: 8082");
    let lost = lost.rules(&marked("echo-v1"));
    hall.routes(&[http.clone(), grpc.clone(), lost.clone()]).unwrap();
    assert_eq!(hall.condition(&grpc, "Accepted").unwrap().status, "True");
    // At the port that both want, the HTTPRoute has lost; at the others it is in force.
    let cases = [
        get("/").has("x-marked", "by-the-route"),
        get("/").port(8082).fails(404, "NR"),
        get("/echo.Echo/Unary")
            .port(8082)
            .http2()
            .method("POST")
            .body("")
            .reaches("echo-v2")
            .lacks("x-marked"),
    ];
    hall.check(&target, &cases).unwrap();
    let accepted = hall.condition(&http, "Accepted").unwrap();
    assert!(
        accepted.message.contains("without effect at port 8082"),
        "{accepted:?}"
    );
    // One that wants no other port has lost as a whole.
    let accepted = hall.condition(&lost, "Accepted").unwrap();
    assert_eq!(
        (accepted.status.as_str(), accepted.reason.as_str()),
        ("False", "Conflicted"),
        "{accepted:?}"
    );
}

#[test]
fn routes_for_connections_give_way_to_those_for_requests() {
    let mut hall = HALL.take();
    let target = hall.service("three-kinds").unwrap();
    // A port that declares nothing may be any of these routes'.
    let port = "port: 8081";
    let http = Route::http("three-kinds")
        .parent_with("three-kinds", port)
        .rules(&marked("echo-v1"));
    let backend = "- backendRefs: [ { name: echo-v2, port: 443 } ]";
    let tls = Route::tls("three-kinds")
        .parent_with("three-kinds", port)
        .hostname("a.example")
        .rules(backend);
    let tcp = Route::tcp("three-kinds")
        .parent_with("three-kinds", port)
        .rules(backend);
    hall.routes(&[tcp.clone(), tls.clone(), http.clone()]).unwrap();
    let judged = |route: &Route| {
        let accepted = hall.condition(route, "Accepted").unwrap();
        (accepted.status, accepted.reason)
    };
    let conflicted = ("False".to_owned(), "Conflicted".to_owned());
    let accepted = ("True".to_owned(), "Accepted".to_owned());
    assert_eq!(
        (judged(&http), judged(&tls), judged(&tcp)),
        (accepted.clone(), conflicted.clone(), conflicted.clone())
    );
    hall.check(
        &target,
        &[get("/")
            .port(8081)
            .reaches("echo-v1")
            .has("x-marked", "by-the-route")],
    )
    .unwrap();
    hall.remove(&http.file()).unwrap();
    until("the next kind to take its place", MOMENT, || {
        Ok((judged(&tls) == accepted).then_some(()))
    })
    .unwrap();
    assert_eq!(judged(&tcp), conflicted);
}

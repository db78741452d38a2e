//! Where requests go: shares, backends that are not there, and what stands behind a Service.

use std::collections::BTreeMap;

use mesh_e2e::case::{Target, get};
use mesh_e2e::hall::{Hall, NAMESPACE};
use mesh_e2e::routes::Route;
use mesh_harness::Workload;

use crate::HALL;

/// How far a share of 500 requests may be off, in requests: two points.
const TOLERANCE: i64 = 10;

/// How many of 500 requests over one connection were answered by each server, or with each status.
fn shares(target: &Target, client: &Workload) -> BTreeMap<String, i64> {
    let mut counts = BTreeMap::new();
    for outcome in target.outcomes(client, 500).unwrap() {
        *counts.entry(outcome).or_default() += 1;
    }
    counts
}

fn assert_shares(hall: &Hall, target: &Target, expected: &[(&str, i64)]) {
    for client in [&hall.client_a, &hall.client_b] {
        let counts = shares(target, client);
        for (outcome, wanted) in expected {
            let got = counts.get(*outcome).copied().unwrap_or_default();
            let tolerance = if *wanted == 0 || *wanted == 500 {
                0
            } else {
                TOLERANCE
            };
            assert!(
                (got - wanted).abs() <= tolerance,
                "{outcome}: {got} and not {wanted}: {counts:?}"
            );
        }
        assert_eq!(counts.values().sum::<i64>(), 500, "{counts:?}");
        assert!(
            counts
                .keys()
                .all(|outcome| expected.iter().any(|(known, _)| known == outcome)),
            "{counts:?}"
        );
    }
}

#[test]
fn requests_are_split_by_weight_on_one_connection() {
    let mut hall = HALL.take();
    let target = hall.service("weights").unwrap();
    // The backend of weight 0 is not there, which takes nothing from the others.
    let rules = "
- backendRefs:
  - { name: echo-v1, port: 8080, weight: 70 }
  - { name: echo-v2, port: 8080, weight: 30 }
  - { name: echo-v3, port: 8080, weight: 0 }
";
    hall.routes(&[Route::http("weights").parent("weights").rules(rules)])
        .unwrap();
    hall.check(&target, &[get("/")]).unwrap();
    assert_shares(&hall, &target, &[("echo-v1", 350), ("echo-v2", 150)]);
}

#[test]
fn a_weight_is_one_unless_it_is_named() {
    let mut hall = HALL.take();
    let target = hall.service("default-weights").unwrap();
    let rules = "- backendRefs: [ { name: echo-v1, port: 8080 }, { name: echo-v2, port: 8080, weight: 4 } ]";
    hall.routes(&[Route::http("default-weights")
        .parent("default-weights")
        .rules(rules)])
        .unwrap();
    hall.check(&target, &[get("/")]).unwrap();
    assert_shares(&hall, &target, &[("echo-v1", 100), ("echo-v2", 400)]);
}

#[test]
fn a_share_of_a_backend_that_is_not_there_fails() {
    let mut hall = HALL.take();
    let target = hall.service("half-there").unwrap();
    let rules = "- backendRefs: [ { name: echo-v1, port: 8080, weight: 60 }, { name: nobody, port: 8080, weight: 40 } ]";
    let route = Route::http("half-there").parent("half-there").rules(rules);
    hall.routes(std::slice::from_ref(&route)).unwrap();
    let resolved = hall.condition(&route, "ResolvedRefs").unwrap();
    assert_eq!(
        (resolved.status.as_str(), resolved.reason.as_str()),
        ("False", "BackendNotFound"),
        "{resolved:?}"
    );
    assert_eq!(hall.condition(&route, "Accepted").unwrap().status, "True");
    assert_shares(&hall, &target, &[("echo-v1", 300), ("500", 200)]);
}

#[test]
fn backends_that_do_not_resolve_are_answered_500() {
    let mut hall = HALL.take();
    let target = hall.service("bad-backends").unwrap();
    let path = |path: &str, backend: &str| {
        format!(
            "- matches: [ {{ path: {{ type: PathPrefix, value: {path} }} }} ]\n  backendRefs: [ {{ {backend} }} ]\n"
        )
    };
    let bad = [
        (
            "unknown-service",
            path("/service", "name: nobody, port: 8080"),
            "BackendNotFound",
        ),
        (
            "unknown-kind",
            path(
                "/kind",
                "group: unknown.example, kind: NotHere, name: echo-v1, port: 8080",
            ),
            "InvalidKind",
        ),
        (
            "unknown-namespace",
            path("/namespace", "name: echo-v1, namespace: nowhere, port: 8080"),
            "BackendNotFound",
        ),
        (
            "unknown-port",
            path("/port", "name: echo-v1, port: 81"),
            "BackendNotFound",
        ),
    ];
    let mut routes: Vec<Route> = bad
        .iter()
        .map(|(name, rules, _)| Route::http(name).parent("bad-backends").rules(rules))
        .collect();
    routes.push(
        Route::http("good-backend")
            .parent("bad-backends")
            .rules(&path("/good", "name: echo-v1, port: 8080")),
    );
    hall.routes(&routes).unwrap();
    let cases = [
        get("/good").reaches("echo-v1"),
        get("/service").fails(500, "NC"),
        get("/kind").fails(500, "NC"),
        get("/namespace").fails(500, "NC"),
        get("/port").fails(500, "NC"),
    ];
    hall.check(&target, &cases).unwrap();
    for (route, (name, _, reason)) in routes.iter().zip(&bad) {
        let resolved = hall.condition(route, "ResolvedRefs").unwrap();
        assert_eq!(
            (resolved.status.as_str(), resolved.reason.as_str()),
            ("False", *reason),
            "{name}: {resolved:?}"
        );
        assert_eq!(
            hall.condition(route, "Accepted").unwrap().status,
            "True",
            "{name}"
        );
    }
}

#[test]
fn a_rule_without_backends_is_answered_500() {
    let mut hall = HALL.take();
    let target = hall.service("no-backends").unwrap();
    let rules = "
- matches: [ { path: { type: Exact, value: /omitted } } ]
- matches: [ { path: { type: Exact, value: /empty } } ]
  backendRefs: []
- matches: [ { path: { type: Exact, value: /zero } } ]
  backendRefs: [ { name: echo-v1, port: 8080, weight: 0 }, { name: echo-v2, port: 8080, weight: 0 } ]
- matches: [ { path: { type: Exact, value: /good } } ]
  backendRefs: [ { name: echo-v1, port: 8080 } ]
";
    let route = Route::http("no-backends").parent("no-backends").rules(rules);
    hall.routes(std::slice::from_ref(&route)).unwrap();
    let cases = [
        get("/omitted").fails(500, "NC"),
        get("/empty").fails(500, "NC"),
        get("/zero").fails(500, "NC"),
        get("/good").reaches("echo-v1"),
    ];
    hall.check(&target, &cases).unwrap();
    let resolved = hall.condition(&route, "ResolvedRefs").unwrap();
    assert_eq!(resolved.status, "True", "{resolved:?}");
}

#[test]
fn a_service_without_endpoints_is_answered_503() {
    let mut hall = HALL.take();
    let target = hall.service("empty-backend").unwrap();
    let empty = hall.service_of("empty", "nobody-has-this-label", 0).unwrap();
    let rules = "
- matches: [ { path: { type: PathPrefix, value: /all } } ]
  backendRefs: [ { name: empty, port: 8080 } ]
- matches: [ { path: { type: PathPrefix, value: / } } ]
  backendRefs: [ { name: echo-v1, port: 8080, weight: 60 }, { name: empty, port: 8080, weight: 40 } ]
";
    let route = Route::http("empty-backend").parent("empty-backend").rules(rules);
    hall.routes(std::slice::from_ref(&route)).unwrap();
    hall.check(&target, &[get("/all").fails(503, "UH")]).unwrap();
    // The reference resolves: the Service is there.
    assert_eq!(hall.condition(&route, "ResolvedRefs").unwrap().status, "True");
    assert_shares(&hall, &target, &[("echo-v1", 300), ("503", 200)]);
    // And without a route.
    hall.check(&empty, &[get("/").fails(503, "UH")]).unwrap();
}

#[test]
fn all_types_of_services_are_backends() {
    let mut hall = HALL.take();
    let target = hall.service("types").unwrap();
    let services = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: type-headless, namespace: {NAMESPACE} }}\n\
         spec: {{ clusterIP: None, selector: {{ app: echo-v1 }}, ports: [ {{ name: http, port: 8080, appProtocol: http }} ] }}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{ name: type-manual, namespace: {NAMESPACE} }}\n\
         spec: {{ clusterIP: 10.96.2.2, ports: [ {{ name: http, port: 8080, appProtocol: http }} ] }}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{ name: type-manual-1, namespace: {NAMESPACE}, labels: {{ kubernetes.io/service-name: type-manual }} }}\n\
         addressType: IPv4\nendpoints: [ {{ addresses: [\"{}\"] }} ]\nports: [ {{ name: http, port: 8080 }} ]\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{ name: type-headless-manual, namespace: {NAMESPACE} }}\n\
         spec: {{ clusterIP: None, ports: [ {{ name: http, port: 8080, appProtocol: http }} ] }}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{ name: type-headless-manual-1, namespace: {NAMESPACE}, labels: {{ kubernetes.io/service-name: type-headless-manual }} }}\n\
         addressType: IPv4\nendpoints: [ {{ addresses: [\"{}\"] }} ]\nports: [ {{ name: http, port: 8080 }} ]\n",
        hall.v2.v4(),
        hall.v1.v4()
    );
    hall.write("types", &services).unwrap();
    let rule = |name: &str| {
        format!(
            "- matches: [ {{ path: {{ type: PathPrefix, value: /{name} }} }} ]\n  backendRefs: [ {{ name: type-{name}, port: 8080 }} ]\n"
        )
    };
    let rules = [rule("headless"), rule("manual"), rule("headless-manual")].concat();
    hall.routes(&[Route::http("types").parent("types").rules(&rules)])
        .unwrap();
    let cases = [
        get("/headless").reaches("echo-v1"),
        get("/manual").reaches("echo-v2"),
        get("/headless-manual").reaches("echo-v1"),
    ];
    hall.check(&target, &cases).unwrap();
}

#[test]
fn a_backend_may_be_the_parent_itself() {
    let mut hall = HALL.take();
    let target = hall.service("itself").unwrap();
    let rules = "
- filters: [ { type: ResponseHeaderModifier, responseHeaderModifier: { add: [ { name: x-times, value: once } ] } } ]
  backendRefs: [ { name: itself, port: 80 } ]
";
    hall.routes(&[Route::http("itself").parent("itself").rules(rules)])
        .unwrap();
    // The backend's own routes are not asked again.
    hall.check(&target, &[get("/").has("x-times", "once")]).unwrap();
    let seen = target.many(&hall.client_a, 40).unwrap();
    for name in ["echo-v1", "echo-v2"] {
        assert!(
            seen.iter().any(|one| one.server() == name),
            "nothing reached {name}"
        );
    }
}

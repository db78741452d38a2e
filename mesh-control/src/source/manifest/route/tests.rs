//! What routes may say: each field of Gateway API, what it becomes, and the exact words for what it can't be.

mod filters;
mod refused;

use std::path::Path;
use std::time::Duration;

use mesh_model::{HttpMatch, PathMatch, RetryOn, TextMatch, ValueMatch};

use super::*;
use crate::source::manifest::{Manifest, parse};
use crate::world::{Age, Problem, Severity};

/// A route's manifest: `spec` is indented by two spaces.
fn manifest(kind: &str, version: &str, spec: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/{version}\nkind: {kind}\nmetadata: {{ name: r, namespace: shop }}\n\
         spec:\n  parentRefs: [ {{ group: '', kind: Service, name: web }} ]\n{spec}"
    )
}

/// An HTTPRoute with one rule, whose fields are in YAML's flow style.
fn http(rule: &str) -> String {
    manifest("HTTPRoute", "v1", &format!("  rules: [ {{ {rule} }} ]\n"))
}

fn grpc(rule: &str) -> String {
    manifest("GRPCRoute", "v1", &format!("  rules: [ {{ {rule} }} ]\n"))
}

fn read(text: &str) -> (Option<Route>, Vec<Problem>) {
    let mut report = Report::default();
    let mut manifests = parse(Path::new("x.yaml"), text, &mut report);
    let route = match manifests.pop() {
        Some(Manifest::Route(route)) => Some(route.value),
        Some(other) => panic!("{other:?}"),
        None => None,
    };
    (route, report.into_problems())
}

/// The route, which has no problem and nothing that can't be done.
fn good(text: &str) -> Route {
    let (route, problems) = read(text);
    assert_eq!(problems, [], "{text}");
    let route = route.unwrap();
    assert_eq!(route.refusals, [], "{text}");
    route
}

/// The only rule of such a route.
fn rule(text: &str) -> Rule {
    let mut rules = good(text).rules;
    assert_eq!(rules.len(), 1);
    rules.remove(0)
}

fn exact(name: &str, value: &str) -> ValueMatch {
    ValueMatch {
        name: name.to_owned(),
        value: TextMatch::Exact(value.to_owned()),
    }
}

#[test]
fn reads_metadata_parents_and_names() {
    let text = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: r, namespace: shop, generation: 7, creationTimestamp: "2026-01-31T12:00:00Z" }
spec:
  parentRefs:
  - { group: "", kind: Service, name: web, port: 80 }
  - { group: "", kind: Service, name: web, port: 81 }
  - { group: "", kind: Service, name: api, namespace: other, sectionName: http, port: 8080 }
  rules:
  - name: first
  - matches: []
status: { parents: [] }
"#;
    let route = good(text);
    assert_eq!(
        (route.kind, route.generation, route.age),
        (RouteKind::Http, Some(7), Age::Created(1_769_860_800_000_000_000))
    );
    let parents: Vec<_> = route
        .parents
        .iter()
        .map(|parent| {
            (
                parent.namespace.as_str(),
                parent.name.as_str(),
                parent.section.as_deref(),
                parent.port,
            )
        })
        .collect();
    assert_eq!(
        parents,
        [
            ("shop", "web", None, Some(80)),
            ("shop", "web", None, Some(81)),
            ("other", "api", Some("http"), Some(8080)),
        ]
    );
    let names: Vec<String> = route
        .rules
        .iter()
        .enumerate()
        .map(|(at, rule)| rule.label(at))
        .collect();
    assert_eq!(names, ["first", "1"]);
    for rule in &route.rules {
        assert_eq!(rule.matches, [HttpMatch::any()], "no matches: everything");
        assert_eq!(rule.backends, []);
    }
}

#[test]
fn a_route_without_rules_matches_everything_and_has_no_backend() {
    let rule = rule(&manifest("HTTPRoute", "v1", ""));
    assert_eq!(
        (rule.matches, rule.backends),
        (vec![HttpMatch::any()], Vec::new())
    );
    assert_eq!(good(&manifest("GRPCRoute", "v1", "")).rules, []);
}

#[test]
fn reads_all_of_a_match() {
    let rule = rule(&http(
        "matches: [ \
         { path: { type: Exact, value: /a }, method: POST, headers: [ { name: X-User, value: a b }, \
           { name: accept, type: RegularExpression, value: 'text/.*' } ], queryParams: [ { name: Q, value: '1' } ] }, \
         { path: { value: /b } }, { path: { type: PathPrefix } }, { path: { type: RegularExpression, value: '/c/\\d+' } }, \
         { headers: [ { name: x, value: y } ] } ]",
    ));
    let path = |path: PathMatch| HttpMatch {
        path,
        ..HttpMatch::any()
    };
    let regex = TextMatch::Regex("text/.*".to_owned());
    assert_eq!(
        rule.matches,
        [
            HttpMatch {
                path: PathMatch::Exact("/a".to_owned()),
                method: Some("POST".to_owned()),
                headers: vec![
                    exact("x-user", "a b"),
                    ValueMatch {
                        name: "accept".to_owned(),
                        value: regex,
                    }
                ],
                query: vec![exact("Q", "1")],
            },
            path(PathMatch::Prefix("/b".to_owned())),
            path(PathMatch::Prefix("/".to_owned())),
            path(PathMatch::Regex("/c/\\d+".to_owned())),
            HttpMatch {
                headers: vec![exact("x", "y")],
                ..HttpMatch::any()
            },
        ]
    );
}

#[test]
fn reads_all_of_a_grpc_match() {
    let rule = rule(&grpc(
        "name: calls, matches: [ { method: { service: shop.Cart, method: Get }, headers: [ { name: X, value: y } ] }, \
         { method: { type: RegularExpression, service: 'shop\\..*' } }, { method: { method: Put } }, { } ]",
    ));
    assert_eq!(rule.name.as_deref(), Some("calls"));
    let call = |service: Option<TextMatch>, method: Option<TextMatch>| PathMatch::Grpc { service, method };
    let text = |text: &str| Some(TextMatch::Exact(text.to_owned()));
    let regex = TextMatch::Regex("shop\\..*".to_owned());
    let paths: Vec<PathMatch> = rule.matches.iter().map(|given| given.path.clone()).collect();
    assert_eq!(
        paths,
        [
            call(text("shop.Cart"), text("Get")),
            call(Some(regex), None),
            call(None, text("Put")),
            call(None, None),
        ]
    );
    assert_eq!(rule.matches[0].headers, [exact("x", "y")]);
    let without = self::rule(&grpc("name: all"));
    assert_eq!(without.matches[0].path, call(None, None));
}

#[test]
fn reads_backends() {
    let rule = rule(&http(
        "backendRefs: [ { name: a, port: 80 }, { name: b, namespace: other, port: 81, weight: 0, \
         filters: [ { type: RequestRedirect, requestRedirect: { } } ] }, { group: example.com, kind: Bucket, name: C, weight: 1000000 } ]",
    ));
    let backends: Vec<_> = rule
        .backends
        .iter()
        .map(|given| {
            let backend = &given.backend;
            (
                backend.kind.as_str(),
                backend.namespace.as_str(),
                backend.name.as_str(),
                backend.port,
                given.weight,
                given.filters.len(),
            )
        })
        .collect();
    assert_eq!(
        backends,
        [
            ("Service", "shop", "a", Some(80), 1, 0),
            ("Service", "other", "b", Some(81), 0, 1),
            ("Bucket", "shop", "C", None, 1_000_000, 0),
        ]
    );
}

#[test]
fn reads_timeouts_and_retries() {
    let settings = rule(&http(
        "timeouts: { request: 10s, backendRequest: 0s }, retry: { codes: [503, 500, 503], attempts: 3, backoff: 100ms }",
    ))
    .settings;
    assert_eq!(settings.request_timeout, Some(Duration::from_secs(10)));
    assert_eq!(settings.backend_timeout, Some(Duration::ZERO), "switched off");
    let retry = settings.retry.unwrap();
    assert_eq!(
        (retry.attempts, retry.statuses.as_slice()),
        (3, [500, 503].as_slice())
    );
    assert_eq!(
        retry.on,
        [RetryOn::ConnectFailure, RetryOn::Reset, RetryOn::Timeout]
    );
    assert!(!retry.non_idempotent);
    assert_eq!(
        (retry.backoff, retry.max_backoff),
        (Duration::from_millis(100), Duration::from_secs(1))
    );
    let retry = rule(&http("retry: { }")).settings.retry.unwrap();
    assert_eq!((retry.attempts, retry.statuses.len()), (1, 0));
    assert_eq!(
        (retry.backoff, retry.max_backoff),
        (Duration::from_millis(25), Duration::from_millis(250))
    );
}

#[test]
fn reads_sessions() {
    let affinity = |text: &str| rule(text).settings.affinity.unwrap();
    for make in [http, grpc] {
        let named = affinity(&make(
            "sessionPersistence: { sessionName: sid, absoluteTimeout: 1h, type: Cookie, \
             cookieConfig: { lifetimeType: Permanent } }",
        ));
        assert_eq!(
            (named.name.as_str(), named.max_age, named.path.as_str()),
            ("sid", Some(Duration::from_hours(1)), "/")
        );
    }
    let bare = affinity(&http("sessionPersistence: { }"));
    assert_eq!(bare.max_age, None, "for the browser's session");
    let two = manifest(
        "HTTPRoute",
        "v1",
        "  rules: [ { sessionPersistence: { } }, { sessionPersistence: { } } ]\n",
    );
    let names: Vec<String> = good(&two)
        .rules
        .into_iter()
        .map(|rule| rule.settings.affinity.unwrap().name)
        .collect();
    assert_ne!(names[0], names[1], "each rule has a cookie of its own");
    assert_eq!(names[0], bare.name, "which is the same whenever it is read");
}

#[test]
fn reads_tls_and_tcp_routes_of_every_version() {
    for version in ["v1", "v1alpha3", "v1alpha2"] {
        let route = good(&manifest(
            "TLSRoute",
            version,
            "  hostnames: [ a.example.com, '*.b.example.com' ]\n  rules: [ { name: x, backendRefs: [ { name: a, port: 443, weight: 3 } ] } ]\n",
        ));
        assert_eq!(route.hostnames, ["a.example.com", "*.b.example.com"]);
        let rule = &route.rules[0];
        assert_eq!((rule.label(0).as_str(), rule.backends[0].weight), ("x", 3));
    }
    for version in ["v1", "v1alpha2"] {
        let route = good(&manifest(
            "TCPRoute",
            version,
            "  rules: [ { backendRefs: [ { name: a, port: 5432 } ] } ]\n",
        ));
        assert_eq!((route.kind, route.rules.len()), (RouteKind::Tcp, 1));
        assert_eq!(route.rules[0].matches, []);
    }
    let any = "  rules: [ { backendRefs: [ { name: a, port: 443 } ] } ]\n";
    assert_eq!(
        good(&manifest("TLSRoute", "v1alpha2", any)).hostnames,
        Vec::<String>::new()
    );
}

#[test]
fn of_equal_names_the_first_counts() {
    let (route, problems) = read(&http(
        "matches: [ { headers: [ { name: X-A, value: '1' }, { name: x-a, value: '2' } ], \
         queryParams: [ { name: q, value: '1' }, { name: Q, value: '2' }, { name: q, value: '3' } ] } ]",
    ));
    let given = &route.unwrap().rules[0].matches[0];
    assert_eq!(given.headers, [exact("x-a", "1")]);
    assert_eq!(
        given.query,
        [exact("q", "1"), exact("Q", "2")],
        "names of parameters have a case"
    );
    let notes: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(
        notes,
        [
            "spec.rules[0].matches[0].headers[1]",
            "spec.rules[0].matches[0].queryParams[2]"
        ]
    );
    assert!(problems.iter().all(|problem| problem.severity == Severity::Note));
}

#[test]
fn what_is_for_gateways_is_noted() {
    let service = "{ group: '', kind: Service, name: web }";
    for (parents, more, field, words) in [
        (
            format!("[ {{ name: edge }}, {service} ]"),
            "",
            "spec.parentRefs[0]",
            "a parent of kind Gateway is for another controller",
        ),
        (
            format!("[ {{ group: example.com, kind: Mesh, name: m }}, {service} ]"),
            "",
            "spec.parentRefs[0]",
            "a parent of kind Mesh is for another controller",
        ),
        (
            "[ ]".to_owned(),
            "",
            "spec.parentRefs",
            "no Service is a parent of the route",
        ),
        (
            format!("[ {service} ]"),
            "  hostnames: [ '*.example.com' ]\n",
            "spec.hostnames",
            "its Host is not compared",
        ),
        (
            format!("[ {service} ]"),
            "  useDefaultGateways: All\n",
            "spec.useDefaultGateways",
            "gateways are for another controller",
        ),
    ] {
        for kind in ["HTTPRoute", "GRPCRoute"] {
            let text = format!(
                "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{ name: r }}\n\
                 spec:\n  parentRefs: {parents}\n{more}"
            );
            let (route, problems) = read(&text);
            assert_eq!(route.unwrap().refusals, []);
            let [problem] = problems.as_slice() else {
                panic!("{problems:?}")
            };
            assert_eq!(
                (problem.severity, problem.field.as_str()),
                (Severity::Note, field)
            );
            assert!(problem.message.contains(words), "{problem}");
        }
    }
    let grant = "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: { name: g, namespace: shop }\n\
                 spec: { from: [ { group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: other } ], \
                 to: [ { group: '', kind: Service } ] }\n";
    let (route, problems) = read(grant);
    assert!(route.is_none());
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].severity, Severity::Note);
}

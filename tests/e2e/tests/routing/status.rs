//! What cannot be done is said and never ignored: conditions of routes, and manifests that are errors.

use mesh_e2e::MOMENT;
use mesh_e2e::case::get;
use mesh_e2e::hall::Hall;
use mesh_e2e::routes::Route;
use mesh_harness::until;

use crate::HALL;

/// A backend for rules that are about something else.
const BACKEND: &str = "backendRefs: [ { name: echo-v1, port: 8080 } ]";

/// The condition Accepted of a route whose rule has these fields: its status and reason.
fn judged(hall: &Hall, name: &str, service: &str, fields: &str) -> (String, String, String) {
    let route = Route::http(name)
        .parent(service)
        .rules(&format!("- {fields}\n  {BACKEND}"));
    hall.routes(std::slice::from_ref(&route)).unwrap();
    let accepted = hall.condition(&route, "Accepted").unwrap();
    hall.remove(&route.file()).unwrap();
    (accepted.status, accepted.reason, accepted.message)
}

#[test]
fn a_value_that_is_not_known_takes_the_route_out_of_force() {
    let mut hall = HALL.take();
    let target = hall.service_of("unknown-values", "echo-v2", 1).unwrap();
    let edits = "{ type: RequestHeaderModifier, requestHeaderModifier: { set: [ { name: a, value: b } ] } }";
    let redirect = "{ type: RequestRedirect, requestRedirect: { statusCode: 301 } }";
    let rewrite = "{ type: URLRewrite, urlRewrite: { hostname: a.example } }";
    let prefix =
        "{ type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: /x } } }";
    for (name, fields, reason, words) in [
        (
            "path-type",
            "matches: [ { path: { type: Glob, value: /a } } ]",
            "UnsupportedValue",
            "Glob",
        ),
        (
            "header-type",
            "matches: [ { headers: [ { type: Suffix, name: a, value: b } ] } ]",
            "UnsupportedValue",
            "Suffix",
        ),
        (
            "filter-type",
            "filters: [ { type: Teapot } ]",
            "UnsupportedValue",
            "Teapot",
        ),
        (
            "regex",
            "matches: [ { path: { type: RegularExpression, value: '/(' } } ]",
            "UnsupportedValue",
            "(",
        ),
        (
            "twice",
            &format!("filters: [ {edits}, {edits} ]"),
            "IncompatibleFilters",
            "RequestHeaderModifier",
        ),
        (
            "both",
            &format!("filters: [ {rewrite}, {redirect} ]"),
            "IncompatibleFilters",
            "URLRewrite",
        ),
        (
            "redirect-and-backend",
            &format!("filters: [ {redirect} ]"),
            "IncompatibleFilters",
            "backend",
        ),
        (
            "no-prefix",
            &format!("matches: [ {{ path: {{ type: Exact, value: /a }} }} ]\n  filters: [ {prefix} ]"),
            "UnsupportedValue",
            "PathPrefix",
        ),
    ] {
        let (status, because, message) = judged(&hall, &format!("unknown-{name}"), "unknown-values", fields);
        assert_eq!(
            (status.as_str(), because.as_str()),
            ("False", reason),
            "{name}: {message}"
        );
        assert!(message.contains(words), "{name}: {message}");
    }
    // The requests go where they would go without the route.
    hall.check(&target, &[get("/").reaches("echo-v2")]).unwrap();
}

#[test]
fn a_field_that_is_not_known_is_an_error_and_changes_nothing() {
    let mut hall = HALL.take();
    let target = hall.service("unknown-fields").unwrap();
    let good = Route::http("known-fields")
        .parent("unknown-fields")
        .rules("- backendRefs: [ { name: echo-v1, port: 8080 } ]");
    hall.routes(&[good]).unwrap();
    let rules = |fields: &str| format!("- {fields}\n  backendRefs: [ {{ name: echo-v2, port: 8080 }} ]");
    let matches = vec!["{ method: GET }"; 65].join(", ");
    for (fields, words) in [
        ("tiemouts: { request: 1s }".to_owned(), "tiemouts"),
        (
            "timeouts: { request: soon }".to_owned(),
            "spec.rules[0].timeouts.request",
        ),
        (
            "timeouts: { request: 1s, backendRequest: 2s }".to_owned(),
            "backendRequest",
        ),
        (
            "matches: [ { path: { type: Exact, value: no-slash } } ]".to_owned(),
            "spec.rules[0].matches[0].path.value",
        ),
        (format!("matches: [ {matches} ]"), "64"),
        (
            "filters: [ { type: RequestHeaderModifier } ]".to_owned(),
            "requestHeaderModifier",
        ),
    ] {
        let route = Route::http("unknown-fields")
            .parent("unknown-fields")
            .rules(&rules(&fields));
        hall.write(&route.file(), &route.yaml()).unwrap();
        let said = until("the problem to be said", MOMENT, || {
            let problems = hall.mesh.control.admin("/problems")?.to_string();
            Ok((problems.contains("unknown-fields.yaml") && problems.contains(words)).then_some(()))
        });
        said.unwrap_or_else(|error| panic!("{fields}: {error}: {}", hall.problems()));
        hall.check(&target, &[get("/").reaches("echo-v1")]).unwrap();
        hall.remove(&route.file()).unwrap();
        until("the problem to go", MOMENT, || {
            Ok((!hall
                .mesh
                .control
                .admin("/problems")?
                .to_string()
                .contains("unknown-fields.yaml"))
            .then_some(()))
        })
        .unwrap();
    }
}

#[test]
fn a_parent_must_be_a_service_that_has_an_address_of_its_own() {
    let hall = HALL.take();
    let service = "apiVersion: v1\nkind: Service\nmetadata: { name: headless-parent, namespace: mesh }\n\
                   spec: { clusterIP: None, selector: { app: echo-v1 }, ports: [ { name: http, port: 80, targetPort: 8080 } ] }\n";
    hall.write("headless-parent", service).unwrap();
    let rules = format!("- {BACKEND}");
    let headless = Route::http("of-headless").parent("headless-parent").rules(&rules);
    // The group of a parent is Gateway API's unless it says otherwise, and that has no Services.
    let elsewhere = Route::http("of-another-group")
        .parent_as("{ kind: Service, name: echo }")
        .rules(&rules);
    // Somebody else has to judge this one.
    let gateway = Route::http("of-a-gateway")
        .parent_as("{ name: echo }")
        .rules(&rules);
    hall.routes(&[headless.clone(), elsewhere.clone(), gateway.clone()])
        .unwrap();
    for route in [&headless, &elsewhere] {
        let accepted = hall.condition(route, "Accepted").unwrap();
        assert_eq!(
            (accepted.status.as_str(), accepted.reason.as_str()),
            ("False", "NoMatchingParent"),
            "{accepted:?}"
        );
    }
    let status = hall.status(&gateway).unwrap();
    assert_eq!(status["parents"].as_array().map(Vec::len), Some(0), "{status}");
    for route in [headless, elsewhere, gateway] {
        hall.remove(&route.file()).unwrap();
    }
}

#[test]
fn a_route_is_not_in_force_where_its_protocol_is_not_spoken() {
    let mut hall = HALL.take();
    let target = hall.service("other-protocols").unwrap();
    let rules = "- backendRefs: [ { name: echo-v1, port: 9090 } ]";
    let http = Route::http("http-over-bytes")
        .parent_with("other-protocols", "port: 9090")
        .rules(rules);
    let grpc = Route::grpc("calls-over-one")
        .parent_with("other-protocols", "port: 80")
        .rules(rules);
    hall.routes(&[http.clone(), grpc.clone()]).unwrap();
    for route in [&http, &grpc] {
        let accepted = hall.condition(route, "Accepted").unwrap();
        assert_eq!(accepted.status, "False", "{accepted:?}");
        assert!(!accepted.message.is_empty());
    }
    hall.check(&target, &[get("/").port(9090), get("/")]).unwrap();
    // A backend that speaks something else does not resolve.
    let wrong = Route::http("to-bytes")
        .parent_with("other-protocols", "port: 80")
        .rules("- backendRefs: [ { name: echo-v1, port: 443 } ]");
    hall.routes(std::slice::from_ref(&wrong)).unwrap();
    let resolved = hall.condition(&wrong, "ResolvedRefs").unwrap();
    assert_eq!(
        (resolved.status.as_str(), resolved.reason.as_str()),
        ("False", "UnsupportedProtocol"),
        "{resolved:?}"
    );
    hall.check(&target, &[get("/").fails(500, "NC")]).unwrap();
}

//! What routes may not say: what Kubernetes would not take, and what can't be done here.

use super::*;
use crate::source::manifest::tests::table::cases;

/// Fields and messages of the errors; there is nothing else.
fn errors(text: &str) -> Vec<(String, String)> {
    let (_, problems) = read(text);
    for problem in &problems {
        assert_eq!(problem.severity, Severity::Error, "{problem}");
    }
    problems
        .into_iter()
        .map(|problem| (problem.field, problem.message))
        .collect()
}

fn expect_error(text: &str, field: &str, words: &str) {
    let errors = errors(text);
    assert!(
        errors.len() == 1 && errors[0].0 == field && errors[0].1.contains(words),
        "expected {field}: {words}\n{errors:?}\n{text}"
    );
}

/// The route has exactly this refusal, and no problem: it is for the join to say it.
fn expect_refusal(text: &str, is_of_filters: bool, field: &str, words: &str) {
    let (route, problems) = read(text);
    assert_eq!(problems, [], "{text}");
    let refusals = route.unwrap().refusals;
    assert!(
        refusals.len() == 1
            && refusals[0].is_of_filters == is_of_filters
            && refusals[0].field == field
            && refusals[0].message.contains(words),
        "expected {field}: {words}\n{refusals:?}\n{text}"
    );
}

#[test]
fn what_kubernetes_would_not_take_is_an_error() {
    for (rule, field, words) in cases(include_str!("errors.table")) {
        expect_error(&http(rule), field, words);
    }
    let long = "a".repeat(257);
    let name = format!("matches: [ {{ queryParams: [ {{ name: {long}, value: a }} ] }} ]");
    let field = "spec.rules[0].matches[0].queryParams[0].name";
    expect_error(&http(&name), field, "is no name of a header");
    let value = format!(
        "matches: [ {{ headers: [ {{ name: a, value: {} }} ] }} ]",
        "a".repeat(4097)
    );
    let field = "spec.rules[0].matches[0].headers[0].value";
    expect_error(&http(&value), field, "has 4097 bytes");
    good(&http("timeouts: { request: 0s, backendRequest: 2s }"));
}

#[test]
fn kinds_have_the_fields_that_are_theirs() {
    for (rule, words) in [
        ("timeouts: { }", "unknown field `timeouts`"),
        (
            "filters: [ { type: URLRewrite, urlRewrite: { } } ]",
            "unknown field `urlRewrite`",
        ),
        ("matches: [ { path: { } } ]", "unknown field `path`"),
        (
            "matches: [ { method: { } } ]",
            "names neither a service nor a method",
        ),
        (
            "matches: [ { method: { service: a-b } } ]",
            "'a-b' is no gRPC service",
        ),
        (
            "matches: [ { method: { service: '' } } ]",
            "'' is no gRPC service",
        ),
        (
            "matches: [ { method: { method: a.b } } ]",
            "'a.b' is no gRPC method",
        ),
        (
            "matches: [ { method: { type: RegularExpression, method: '' } } ]",
            "has 0 bytes",
        ),
        ("backendRefs: [ { name: a } ]", "is missing"),
    ] {
        let errors = errors(&grpc(rule));
        assert!(errors.len() == 1 && errors[0].1.contains(words), "{errors:?}");
    }
    for kind in ["TCPRoute", "TLSRoute"] {
        let filters =
            "  hostnames: [ a.b ]\n  rules: [ { backendRefs: [ { name: a, port: 1, filters: [] } ] } ]\n";
        assert_eq!(errors(&manifest(kind, "v1", filters)).len(), 1, "{kind}");
    }
}

#[test]
fn entries_for_one_parent_tell_its_ports_apart() {
    let web = "group: '', kind: Service, name: web";
    for (other, same, words) in [
        ("", "", "says the same as another entry"),
        (
            ", port: 80",
            ", namespace: default, port: 80",
            "says the same as another entry",
        ),
        (", port: 80", "", "by other fields than that one"),
        (", port: 80", ", sectionName: a", "by other fields than that one"),
    ] {
        let text = format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{ name: r }}\n\
             spec: {{ parentRefs: [ {{ {web} {other} }}, {{ {web} {same} }} ] }}\n"
        );
        expect_error(&text, "spec.parentRefs[1]", words);
    }
}

#[test]
fn what_cannot_be_done_takes_the_route_out_of_force() {
    for (rule, field, words) in cases(include_str!("refusals.table")) {
        expect_refusal(&http(rule), false, field, words);
    }
    let unknown = grpc("filters: [ { type: CORS, requestMirror: { backendRef: { name: a, port: 1 } } } ]");
    assert_eq!(
        errors(&unknown).len(),
        2,
        "CORS is no filter of a GRPCRoute, and a mirror no CORS"
    );
    let unknown = grpc("filters: [ { type: Teapot } ]");
    expect_refusal(
        &unknown,
        false,
        "spec.rules[0].filters[0].type",
        "no filter of GRPCRoute",
    );
    let two = "  hostnames: [ a.b ]\n  rules: [ { backendRefs: [ { name: a, port: 1 } ] }, { backendRefs: [ { name: b, port: 1 } ] } ]\n";
    let two = manifest("TLSRoute", "v1alpha2", two);
    expect_refusal(
        &two,
        false,
        "spec.rules",
        "nothing that tells several rules apart",
    );
}

#[test]
fn a_path_is_one_that_requests_can_have() {
    let field = "spec.rules[0].matches[0].path.value";
    for (path, words) in [
        ("a", "does not begin with '/'"),
        ("/a//b", "contains '//'"),
        ("/a/./b", "contains '/./'"),
        ("/a/../b", "contains '/../'"),
        ("/a%2fb", "contains '%2f'"),
        ("/a%2Fb", "contains '%2f'"),
        ("/a#b", "contains '#'"),
        ("/a/..", "ends with '/.' or '/..'"),
        ("/a/.", "ends with '/.' or '/..'"),
        ("/a?b", "has characters that paths don't have"),
        ("/a b", "has characters that paths don't have"),
        ("/a%zz", "has characters that paths don't have"),
    ] {
        for kind in ["Exact", "PathPrefix"] {
            let rule = format!("matches: [ {{ path: {{ type: {kind}, value: '{path}' }} }} ]");
            expect_error(&http(&rule), field, words);
        }
        // A regular expression is no path.
        if path != "/a b" {
            let rule = format!("matches: [ {{ path: {{ type: RegularExpression, value: '{path}' }} }} ]");
            good(&http(&rule));
        }
    }
    let long = format!("matches: [ {{ path: {{ value: '/{}' }} }} ]", "a".repeat(1024));
    expect_error(&http(&long), field, "has 1025 bytes");
}

#[test]
fn limits_are_gateway_apis() {
    let list = |entry: &str, count: usize| vec![entry; count].join(", ");
    let spec = |rules: &str| manifest("HTTPRoute", "v1", &format!("  rules: [ {rules} ]\n"));
    let matches = |count: usize| format!("{{ matches: [ {} ] }}", list("{ }", count));
    let backends = format!("backendRefs: [ {} ]", list("{ name: a, port: 1 }", 17));
    let mirror = "{ type: RequestMirror, requestMirror: { backendRef: { name: a, port: 1 } } }";
    good(&spec(&list("{ }", 16)));
    good(&spec(&format!("{}, {}", matches(64), matches(64))));
    let field = "spec.rules";
    expect_error(&spec(&list("{ }", 17)), field, "there are 17 entries, 16 at most");
    expect_error(&spec(""), field, "is empty");
    let field = "spec.rules[0].matches";
    expect_error(&spec(&matches(65)), field, "there are 65 entries, 64 at most");
    // A rule without matches has one.
    let many = spec(&format!("{}, {}, {{ }}", matches(64), matches(64)));
    expect_error(&many, "spec.rules", "the rules have 129 matches, 128 at most");
    let names = spec("{ name: a }, { name: a }");
    expect_error(&names, "spec.rules[1].name", "'a' is the name of another rule");
    expect_error(
        &http(&backends),
        "spec.rules[0].backendRefs",
        "there are 17 entries",
    );
    let filters = http(&format!("filters: [ {} ]", list(mirror, 17)));
    expect_error(&filters, "spec.rules[0].filters", "there are 17 entries");
}

#[test]
fn routes_of_connections_have_names_a_rule_and_backends() {
    let backend = "  rules: [ { backendRefs: [ { name: a, port: 1 } ] } ]\n";
    let tls = |hostnames: &str| manifest("TLSRoute", "v1", &format!("{hostnames}{backend}"));
    expect_error(&tls(""), "spec.hostnames", "is empty");
    let names = vec!["a.b"; 17].join(", ");
    let many = tls(&format!("  hostnames: [ {names} ]\n"));
    expect_error(&many, "spec.hostnames", "there are 17 entries");
    for name in ["10.0.0.1", "a.*.b", "'*'", "A.b", "a.b."] {
        let text = tls(&format!("  hostnames: [ {name} ]\n"));
        expect_error(&text, "spec.hostnames[0]", "is no host name");
    }
    let tcp = |rules: &str| manifest("TCPRoute", "v1", &format!("  rules: [ {rules} ]\n"));
    expect_error(
        &tcp("{ backendRefs: [] }"),
        "spec.rules[0].backendRefs",
        "is empty",
    );
    expect_error(&tcp(""), "spec.rules", "is empty");
}

#[test]
fn filters_that_do_not_go_together_take_the_route_out_of_force() {
    let edits = "{ type: RequestHeaderModifier, requestHeaderModifier: { } }";
    let answer = "{ type: ResponseHeaderModifier, responseHeaderModifier: { } }";
    let redirect = "{ type: RequestRedirect, requestRedirect: { } }";
    let rewrite = "{ type: URLRewrite, urlRewrite: { } }";
    for (rule, field, words) in [
        (
            format!("filters: [ {edits}, {edits} ]"),
            "filters",
            "more than one RequestHeaderModifier",
        ),
        (
            format!("filters: [ {answer}, {answer} ]"),
            "filters",
            "more than one ResponseHeaderModifier",
        ),
        (
            format!("filters: [ {redirect}, {redirect} ]"),
            "filters",
            "more than one RequestRedirect",
        ),
        (
            format!("filters: [ {rewrite}, {rewrite} ]"),
            "filters",
            "more than one URLRewrite",
        ),
        (
            format!("filters: [ {rewrite}, {redirect} ]"),
            "filters",
            "nothing to do for the URLRewrite",
        ),
        (
            format!("filters: [ {redirect} ], backendRefs: [ {{ name: a, port: 1 }} ]"),
            "filters",
            "no backend is ever asked",
        ),
        (
            format!("backendRefs: [ {{ name: a, port: 1, filters: [ {rewrite}, {redirect} ] }} ]"),
            "backendRefs[0].filters",
            "nothing to do for the URLRewrite",
        ),
    ] {
        expect_refusal(&http(&rule), true, &format!("spec.rules[0].{field}"), words);
    }
    // Of a backend's filters one may redirect: the others go on.
    good(&http(&format!(
        "filters: [ {edits}, {answer} ], backendRefs: [ {{ name: a, port: 1, filters: [ {redirect} ] }} ]"
    )));
}

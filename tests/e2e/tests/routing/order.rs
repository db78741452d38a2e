//! Which of several rules that match a request wins.

use mesh_e2e::case::get;
use mesh_e2e::routes::Route;

use crate::HALL;

/// A rule that sends requests with this match to the first backend, and writes its name into the answer.
fn named(matches: &str, name: &str) -> String {
    format!(
        "- matches: [ {matches} ]\n  backendRefs: [ {{ name: echo-v1, port: 8080 }} ]\n  filters:\n  \
         - {{ type: ResponseHeaderModifier, responseHeaderModifier: {{ set: [ {{ name: x-rule, value: {name} }} ] }} }}\n"
    )
}

#[test]
fn exact_goes_before_the_longest_prefix() {
    let mut hall = HALL.take();
    let target = hall.service("path-order").unwrap();
    let path = |kind: &str, value: &str, backend: &str| {
        named(
            &format!("{{ path: {{ type: {kind}, value: {value} }} }}"),
            backend,
        )
    };
    let rules = [
        path("PathPrefix", "/match/", "prefix-short"),
        path("PathPrefix", "/match/prefix/one/any", "prefix-longest"),
        path("PathPrefix", "/match/prefix/", "prefix-long"),
        path("PathPrefix", "/match/prefix/one/", "prefix-longer"),
        path("PathPrefix", "/match/exact/one", "prefix-as-long-as-exact"),
        path("Exact", "/match/exact/one", "exact-long"),
        path("Exact", "/match/exact", "exact"),
        path("Exact", "/match", "exact-short"),
    ];
    hall.routes(&[Route::http("path-order")
        .parent("path-order")
        .rules(&rules.concat())])
        .unwrap();
    let cases = [
        get("/match/exact/one").has("x-rule", "exact-long"),
        get("/match/exact").has("x-rule", "exact"),
        get("/match").has("x-rule", "exact-short"),
        get("/match/exact/one/more").has("x-rule", "prefix-as-long-as-exact"),
        get("/match/prefix/one/any").has("x-rule", "prefix-longest"),
        get("/match/prefix/one/other").has("x-rule", "prefix-longer"),
        get("/match/prefix/other").has("x-rule", "prefix-long"),
        get("/match/other").has("x-rule", "prefix-short"),
        get("/nomatch").fails(404, "NR"),
    ];
    hall.check(&target, &cases).unwrap();
}

#[test]
fn the_path_goes_before_the_method_the_headers_and_the_query() {
    let mut hall = HALL.take();
    let target = hall.service("precedence").unwrap();
    let header = |name: &str| format!("{{ name: {name}, value: x }}");
    let path = |prefix: &str| format!("path: {{ type: PathPrefix, value: {prefix} }}");
    let rules = [
        named(
            "{ queryParams: [ { name: a, value: x }, { name: b, value: x }, { name: c, value: x } ] }",
            "three-queries",
        ),
        named(&format!("{{ headers: [ {} ] }}", header("h1")), "one-header"),
        named(
            &format!("{{ headers: [ {}, {} ] }}", header("h1"), header("h2")),
            "two-headers",
        ),
        named("{ method: GET }", "method"),
        named(&format!("{{ {} }}", path("/p")), "path"),
        named(
            &format!("{{ {}, headers: [ {} ] }}", path("/p"), header("h1")),
            "path-and-header",
        ),
        named(&format!("{{ {}, method: GET }}", path("/p")), "path-and-method"),
        named(&format!("{{ {} }}", path("/p/longer")), "longer-path"),
    ];
    hall.routes(&[Route::http("precedence")
        .parent("precedence")
        .rules(&rules.concat())])
        .unwrap();
    let everything = |path: &str| get(&format!("{path}?a=x&b=x&c=x")).with("H1: x").with("H2: x");
    let cases = [
        get("/p").method("PUT").has("x-rule", "path"),
        get("/p").has("x-rule", "path-and-method"),
        get("/p").with("H1: x").has("x-rule", "path-and-method"),
        get("/p")
            .method("PUT")
            .with("H1: x")
            .has("x-rule", "path-and-header"),
        everything("/p/longer").has("x-rule", "longer-path"),
        everything("/p").has("x-rule", "path-and-method"),
        everything("/").has("x-rule", "method"),
        everything("/").method("PUT").has("x-rule", "two-headers"),
        get("/?a=x&b=x&c=x")
            .method("PUT")
            .with("H1: x")
            .has("x-rule", "one-header"),
        get("/?a=x&b=x&c=x").method("PUT").has("x-rule", "three-queries"),
        get("/?a=x&b=x").method("PUT").fails(404, "NR"),
    ];
    hall.check(&target, &cases).unwrap();
}

#[test]
fn rules_of_several_routes_are_one_table() {
    let mut hall = HALL.take();
    let target = hall.service("across").unwrap();
    let path = |prefix: &str| format!("{{ path: {{ type: PathPrefix, value: {prefix} }} }}");
    let early = [named(&path("/"), "early-root"), named(&path("/tie"), "early-tie")].concat();
    let late = [
        named(&path("/v2"), "late-v2"),
        named(&path("/tie"), "late-tie"),
        named("{ headers: [ { name: version, value: two } ] }", "late-header"),
        named(&path("/same"), "first"),
        named(&path("/same"), "second"),
    ]
    .concat();
    let route = |name: &str| Route::http(name).parent("across");
    hall.routes(&[
        // Read last by name, and the oldest all the same.
        route("z-early").created("2020-01-01T00:00:00Z").rules(&early),
        route("a-late").created("2024-01-01T00:00:00Z").rules(&late),
        // No age: the name decides between these two.
        route("b-undated").rules(&named(&path("/undated"), "b")),
        route("c-undated").rules(&named(&path("/undated"), "c")),
    ])
    .unwrap();
    let cases = [
        get("/undated").has("x-rule", "b"),
        get("/").has("x-rule", "early-root"),
        get("/v2").has("x-rule", "late-v2"),
        get("/v2x").has("x-rule", "early-root"),
        get("/tie").has("x-rule", "early-tie"),
        get("/").with("version: two").has("x-rule", "late-header"),
        get("/v2").with("version: two").has("x-rule", "late-v2"),
        get("/same").has("x-rule", "first"),
    ];
    hall.check(&target, &cases).unwrap();
}

#[test]
fn a_path_is_matched_as_the_backend_sees_it() {
    let mut hall = HALL.take();
    let target = hall.service("one-path").unwrap();
    let rules = [
        named("{ path: { type: PathPrefix, value: /admin } }", "admin"),
        named("{ path: { type: PathPrefix, value: / } }", "public"),
    ];
    hall.routes(&[Route::http("one-path").parent("one-path").rules(&rules.concat())])
        .unwrap();
    let cases = [
        get("/admin/x").has("x-rule", "admin").path("/admin/x"),
        get("/public/../admin/x").has("x-rule", "admin").path("/admin/x"),
        get("/./admin/x").has("x-rule", "admin").path("/admin/x"),
        get("/%61dmin/x").has("x-rule", "admin").path("/admin/x"),
        get("/public/%2e%2e/admin").has("x-rule", "admin").path("/admin"),
        get("/admin/../public").has("x-rule", "public").path("/public"),
        get("/a%2fb").has("x-rule", "public").path("/a%2Fb"),
        // Two readers could take this for two paths.
        get("/admin/../../etc").fails(400, "DPE"),
    ];
    hall.check(&target, &cases).unwrap();
}

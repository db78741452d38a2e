//! What filters do to requests and answers: headers, host, path.

use mesh_e2e::case::get;
use mesh_e2e::routes::Route;

use crate::HALL;

/// What is done with headers below each path, for requests and answers alike.
const EDITS: [(&str, &str); 5] = [
    ("/set", "set: [ { name: X-Header-Set, value: set-overwrites } ]"),
    ("/add", "add: [ { name: X-Header-Add, value: add-appends } ]"),
    ("/remove", "remove: [ X-Header-Remove ]"),
    (
        "/multiple",
        "set: [ { name: X-Set-1, value: s1 }, { name: X-Set-2, value: s2 } ], \
         add: [ { name: X-Add-1, value: a1 }, { name: X-Add-2, value: a2 }, { name: X-Add-3, value: a3 } ], \
         remove: [ X-Remove-1, X-Remove-2 ]",
    ),
    (
        "/any-case",
        "set: [ { name: X-HEADER-SET, value: upper } ], add: [ { name: x-header-add, value: lower } ], \
         remove: [ x-Header-REMOVE ]",
    ),
];

/// Rules that edit headers: of requests or answers, at the rule or at its backend.
fn edits(of: &str, at_backend: bool) -> String {
    let rule = |(path, edits): &(&str, &str)| {
        let field = format!("{}{}Modifier", of[..1].to_ascii_lowercase(), &of[1..]);
        let filters = format!("filters: [ {{ type: {of}Modifier, {field}: {{ {edits} }} }} ]");
        let (rules, backends) = if at_backend {
            ("", format!(", {filters}"))
        } else {
            (filters.as_str(), String::new())
        };
        let rules = if rules.is_empty() {
            String::new()
        } else {
            format!("  {rules}\n")
        };
        format!(
            "- matches: [ {{ path: {{ type: PathPrefix, value: {path} }} }} ]\n{rules}  \
             backendRefs: [ {{ name: echo-v1, port: 8080{backends} }} ]\n"
        )
    };
    EDITS.iter().map(rule).collect::<Vec<_>>().concat()
}

fn requests_headers_are_edited(name: &str, at_backend: bool) {
    let mut hall = HALL.take();
    let target = hall.service(name).unwrap();
    let rules = edits("RequestHeader", at_backend);
    hall.routes(&[Route::http(name).parent(name).rules(&rules)])
        .unwrap();
    let cases = [
        get("/set")
            .with("Some-Other: header")
            .sees("x-header-set", "set-overwrites")
            .sees("some-other", "header"),
        get("/set")
            .with("X-Header-Set: theirs")
            .sees("x-header-set", "set-overwrites"),
        get("/set")
            .with("x-header-set: one")
            .with("X-HEADER-SET: two")
            .sees("x-header-set", "set-overwrites"),
        get("/add").sees("x-header-add", "add-appends"),
        get("/add")
            .with("X-Header-Add: theirs")
            .sees("x-header-add", "theirs,add-appends"),
        get("/remove")
            .with("X-Header-Remove: val")
            .unseen("x-header-remove"),
        get("/remove")
            .with("x-header-remove: 1")
            .with("X-Header-Remove: 2")
            .unseen("x-header-remove"),
        get("/remove").unseen("x-header-remove"),
        get("/multiple")
            .with("X-Set-2: theirs")
            .with("X-Add-2: theirs")
            .with("X-Remove-1: x")
            .with("X-Remove-2: x")
            .with("Another: stays")
            .sees("x-set-1", "s1")
            .sees("x-set-2", "s2")
            .sees("x-add-1", "a1")
            .sees("x-add-2", "theirs,a2")
            .sees("x-add-3", "a3")
            .unseen("x-remove-1")
            .unseen("x-remove-2")
            .sees("another", "stays"),
        get("/any-case")
            .with("x-header-set: theirs")
            .with("X-Header-Add: theirs")
            .with("X-HEADER-REMOVE: x")
            .sees("x-header-set", "upper")
            .sees("x-header-add", "theirs,lower")
            .unseen("x-header-remove"),
        get("/multiple")
            .http2()
            .with("x-add-2: theirs")
            .sees("x-add-2", "theirs,a2")
            .sees("x-set-1", "s1"),
    ];
    hall.check(&target, &cases).unwrap();
}

#[test]
fn a_rule_edits_the_requests_headers() {
    requests_headers_are_edited("request-headers", false);
}

#[test]
fn a_backend_edits_the_requests_headers() {
    requests_headers_are_edited("backend-request-headers", true);
}

fn answers_headers_are_edited(name: &str, at_backend: bool) {
    let mut hall = HALL.take();
    let target = hall.service(name).unwrap();
    let rules = edits("ResponseHeader", at_backend);
    hall.routes(&[Route::http(name).parent(name).rules(&rules)])
        .unwrap();
    // The backend writes its own headers before.
    let theirs = |header: &str| format!("X-Answer: {header}");
    let cases = [
        get("/set").has("x-header-set", "set-overwrites"),
        get("/set")
            .with(&theirs("X-Header-Set: theirs"))
            .has("x-header-set", "set-overwrites"),
        get("/add").has("x-header-add", "add-appends"),
        get("/add")
            .with(&theirs("X-Header-Add: theirs"))
            .has("x-header-add", "theirs,add-appends"),
        get("/remove")
            .with(&theirs("X-Header-Remove: x"))
            .lacks("x-header-remove"),
        get("/multiple")
            .with(&theirs("X-Add-2: theirs"))
            .with(&theirs("X-Set-2: theirs"))
            .with(&theirs("X-Remove-1: x"))
            .with(&theirs("Another: stays"))
            .has("x-set-1", "s1")
            .has("x-set-2", "s2")
            .has("x-add-1", "a1")
            .has("x-add-2", "theirs,a2")
            .lacks("x-remove-1")
            .has("another", "stays"),
        get("/any-case")
            .with(&theirs("x-header-set: theirs"))
            .with(&theirs("x-HEADER-remove: x"))
            .has("x-header-set", "upper")
            .has("x-header-add", "lower")
            .lacks("x-header-remove"),
        // Errors of the backend are its answers like any other.
        get("/set")
            .with("X-Do: status=503")
            .is(503)
            .has("x-header-set", "set-overwrites"),
    ];
    hall.check(&target, &cases).unwrap();
}

#[test]
fn a_rule_edits_the_answers_headers() {
    answers_headers_are_edited("response-headers", false);
}

#[test]
fn a_backend_edits_the_answers_headers() {
    answers_headers_are_edited("backend-response-headers", true);
}

#[test]
fn a_backends_filters_follow_the_choice() {
    let mut hall = HALL.take();
    let target = hall.service("chosen-filters").unwrap();
    let backend = |name: &str| {
        format!(
            "{{ name: {name}, port: 8080, weight: 1, filters: [ {{ type: RequestHeaderModifier, \
             requestHeaderModifier: {{ set: [ {{ name: backend, value: {name} }} ] }} }} ] }}"
        )
    };
    let rules = format!(
        "- backendRefs: [ {}, {} ]",
        backend("echo-v1"),
        backend("echo-v2")
    );
    hall.routes(&[Route::http("chosen-filters")
        .parent("chosen-filters")
        .rules(&rules)])
        .unwrap();
    hall.check(&target, &[get("/")]).unwrap();
    let seen = target.many(&hall.client_a, 60).unwrap();
    for one in &seen {
        assert_eq!(one.header("backend").as_deref(), Some(one.server()));
    }
    for name in ["echo-v1", "echo-v2"] {
        assert!(
            seen.iter().any(|one| one.server() == name),
            "nothing reached {name}"
        );
    }
}

#[test]
fn the_rules_filters_go_before_the_backends() {
    let mut hall = HALL.take();
    let target = hall.service("filter-order").unwrap();
    let filter = |value: &str| {
        format!(
            "{{ type: RequestHeaderModifier, requestHeaderModifier: {{ add: [ {{ name: order, value: {value} }} ] }} }}"
        )
    };
    let rules = format!(
        "- filters: [ {} ]\n  backendRefs: [ {{ name: echo-v1, port: 8080, filters: [ {} ] }} ]",
        filter("rule"),
        filter("backend")
    );
    hall.routes(&[Route::http("filter-order").parent("filter-order").rules(&rules)])
        .unwrap();
    hall.check(
        &target,
        &[get("/")
            .with("order: client")
            .sees("order", "client,rule,backend")],
    )
    .unwrap();
}

fn rewrite(path: &str, fields: &str) -> String {
    format!(
        "- matches: [ {{ path: {{ type: PathPrefix, value: {path} }} }} ]\n  filters:\n  \
         - {{ type: URLRewrite, urlRewrite: {{ {fields} }} }}\n  backendRefs: [ {{ name: echo-v1, port: 8080 }} ]\n"
    )
}

#[test]
fn the_backend_sees_the_rewritten_path() {
    let mut hall = HALL.take();
    let target = hall.service("rewrites").unwrap();
    let prefix = |value: &str| format!("path: {{ type: ReplacePrefixMatch, replacePrefixMatch: {value} }}");
    let full = |value: &str| format!("path: {{ type: ReplaceFullPath, replaceFullPath: {value} }}");
    let rules = [
        rewrite("/prefix/one", &prefix("/one")),
        rewrite("/strip-prefix", &prefix("/")),
        rewrite("/nothing", &prefix("''")),
        rewrite("/slashed/", &prefix("/xyz/")),
        rewrite("/to-slash", &prefix("/xyz/")),
        rewrite("/full/one", &full("/one")),
        rewrite("/root", &full("/")),
    ];
    hall.routes(&[Route::http("rewrites").parent("rewrites").rules(&rules.concat())])
        .unwrap();
    let cases = [
        get("/prefix/one/two")
            .reaches("echo-v1")
            .path("/one/two")
            .query(""),
        get("/prefix/one").path("/one"),
        get("/prefix/one/").path("/one/"),
        get("/prefix/one/two?a=b&c=%20")
            .path("/one/two")
            .query("a=b&c=%20"),
        get("/strip-prefix/three").path("/three"),
        get("/strip-prefix").path("/"),
        get("/strip-prefix?q").path("/").query("q"),
        get("/nothing/more").path("/more"),
        get("/nothing").path("/"),
        get("/slashed/bar").path("/xyz/bar"),
        get("/slashed").path("/xyz/"),
        get("/to-slash/bar").path("/xyz/bar"),
        get("/full/one/two").path("/one"),
        get("/full/one/two?a=b").path("/one").query("a=b"),
        get("/root/more").path("/"),
        get("/prefix/one/a%2Fb").path("/one/a%2Fb"),
        get("/prefix/one/two").http2().path("/one/two"),
        get("/prefix/oneness").fails(404, "NR"),
    ];
    hall.check(&target, &cases).unwrap();
}

#[test]
fn a_rewrite_goes_together_with_header_edits() {
    let mut hall = HALL.take();
    let target = hall.service("rewrite-and-edit").unwrap();
    let rules = "
- matches: [ { path: { type: PathPrefix, value: /full } } ]
  filters:
  - { type: URLRewrite, urlRewrite: { path: { type: ReplaceFullPath, replaceFullPath: /test } } }
  - type: RequestHeaderModifier
    requestHeaderModifier:
      set: [ { name: X-Header-Set, value: set-overwrites } ]
      add: [ { name: X-Header-Add, value: one }, { name: X-Header-Add-Append, value: two } ]
      remove: [ X-Header-Remove ]
  backendRefs: [ { name: echo-v2, port: 8080 } ]
";
    hall.routes(&[Route::http("rewrite-and-edit")
        .parent("rewrite-and-edit")
        .rules(rules)])
        .unwrap();
    let case = get("/full/path")
        .with("X-Header-Set: theirs")
        .with("X-Header-Add-Append: theirs")
        .with("X-Header-Remove: x")
        .reaches("echo-v2")
        .path("/test")
        .sees("x-header-set", "set-overwrites")
        .sees("x-header-add", "one")
        .sees("x-header-add-append", "theirs,two")
        .unseen("x-header-remove");
    hall.check(&target, &[case]).unwrap();
}

#[test]
fn the_backend_sees_the_rewritten_host() {
    let mut hall = HALL.take();
    let target = hall.service("rewrite-host").unwrap();
    let rules = "
- matches: [ { path: { type: PathPrefix, value: /rule } } ]
  filters: [ { type: URLRewrite, urlRewrite: { hostname: one.example.org } } ]
  backendRefs: [ { name: echo-v1, port: 8080 } ]
- matches: [ { path: { type: PathPrefix, value: /backend } } ]
  backendRefs:
  - name: echo-v2
    port: 8080
    filters:
    - type: URLRewrite
      urlRewrite: { hostname: two.example.org, path: { type: ReplacePrefixMatch, replacePrefixMatch: /new } }
- matches: [ { path: { type: PathPrefix, value: /two } } ]
  filters: [ { type: URLRewrite, urlRewrite: { hostname: three.example.org } } ]
  backendRefs: [ { name: echo-v2, port: 8082 } ]
";
    hall.routes(&[Route::http("rewrite-host").parent("rewrite-host").rules(rules)])
        .unwrap();
    let cases = [
        get("/rule")
            .reaches("echo-v1")
            .host("one.example.org")
            .path("/rule"),
        get("/rule").http2().reaches("echo-v1").host("one.example.org"),
        get("/backend/path?x")
            .reaches("echo-v2")
            .host("two.example.org")
            .path("/new/path")
            .query("x"),
        get("/two")
            .reaches("echo-v2")
            .host("three.example.org")
            .version("HTTP/2.0"),
    ];
    hall.check(&target, &cases).unwrap();
}

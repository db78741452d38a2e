//! What rules match on.

use mesh_e2e::case::get;
use mesh_e2e::routes::Route;

use crate::HALL;

/// A rule that sends requests with this match to this backend.
fn rule(matches: &str, backend: &str) -> String {
    format!("- matches: [ {matches} ]\n  backendRefs: [ {{ name: {backend}, port: 8080 }} ]\n")
}

/// A rule that sends requests with this match to the first backend, and writes its name into the answer.
fn named(matches: &str, name: &str) -> String {
    format!(
        "- matches: [ {matches} ]\n  backendRefs: [ {{ name: echo-v1, port: 8080 }} ]\n  filters:\n  \
         - {{ type: ResponseHeaderModifier, responseHeaderModifier: {{ set: [ {{ name: x-rule, value: {name} }} ] }} }}\n"
    )
}

#[test]
fn a_rule_without_matches_takes_everything() {
    let mut hall = HALL.take();
    let target = hall.service("takes-all").unwrap();
    let rules = "- backendRefs: [ { name: echo-v1, port: 8080 } ]";
    hall.routes(&[Route::http("takes-all")
        .parent_with("takes-all", "port: 80")
        .rules(rules)])
        .unwrap();
    // Often enough that a Service with two endpoints would have given both.
    let mut cases = vec![get("/").reaches("echo-v1"); 8];
    cases.push(get("/any/path?and=query").method("DELETE").reaches("echo-v1"));
    hall.check(&target, &cases).unwrap();
}

#[test]
fn exact_paths_split_a_service() {
    let mut hall = HALL.take();
    let target = hall.service("split").unwrap();
    let rules = [
        rule("{ path: { type: Exact, value: /v1 } }", "echo-v1"),
        rule("{ path: { type: Exact, value: /v2 } }", "echo-v2"),
    ];
    hall.routes(&[Route::http("split").parent("split").rules(&rules.concat())])
        .unwrap();
    let cases = [
        get("/v1").reaches("echo-v1").path("/v1"),
        get("/v2").reaches("echo-v2").path("/v2"),
        get("/v1?query=is&no=part")
            .reaches("echo-v1")
            .query("query=is&no=part"),
        get("/v2").port(8080).reaches("echo-v2"),
        get("/v1/").fails(404, "NR"),
        get("/V1").fails(404, "NR"),
        get("/v1/more").fails(404, "NR"),
        get("/v").fails(404, "NR"),
        // A route stands in place of the Service: nothing falls through to its endpoints.
        get("/").fails(404, "NR"),
    ];
    hall.check(&target, &cases).unwrap();
}

#[test]
fn prefixes_and_headers_match_as_alternatives() {
    let mut hall = HALL.take();
    let target = hall.service("alternatives").unwrap();
    let version = |value: &str| format!("{{ headers: [ {{ name: version, value: {value} }} ] }}");
    let rules = [
        rule(
            &format!("{{ path: {{ type: PathPrefix, value: / }} }}, {}", version("one")),
            "echo-v1",
        ),
        rule(
            &format!(
                "{{ path: {{ type: PathPrefix, value: /v2 }} }}, {}",
                version("two")
            ),
            "echo-v2",
        ),
    ];
    hall.routes(&[Route::http("alternatives")
        .parent("alternatives")
        .rules(&rules.concat())])
        .unwrap();
    let cases = [
        get("/v2").reaches("echo-v2"),
        get("/").reaches("echo-v1"),
        get("/example").reaches("echo-v1"),
        get("/").with("Version: one").reaches("echo-v1"),
        get("/v2/").reaches("echo-v2").path("/v2/"),
        get("/v2/example").reaches("echo-v2"),
        get("/").with("Version: two").reaches("echo-v2"),
        // A prefix ends at a slash.
        get("/v2example").reaches("echo-v1"),
        get("/foo/v2/example").reaches("echo-v1"),
        get("/v2?example").reaches("echo-v2"),
    ];
    hall.check(&target, &cases).unwrap();
}

#[test]
fn a_prefix_matches_by_segment_and_its_last_slash_does_not_count() {
    let mut hall = HALL.take();
    let target = hall.service("prefixes").unwrap();
    let rules = [
        named("{ path: { type: PathPrefix, value: /slash/ } }", "slash"),
        named("{ path: { type: PathPrefix, value: /plain } }", "plain"),
        named("{ path: { type: PathPrefix, value: /a/b } }", "two"),
    ];
    hall.routes(&[Route::http("prefixes").parent("prefixes").rules(&rules.concat())])
        .unwrap();
    let cases = [
        get("/slash").has("x-rule", "slash"),
        get("/slash/").has("x-rule", "slash"),
        get("/slash/more").has("x-rule", "slash"),
        get("/slashes").fails(404, "NR"),
        get("/plain").has("x-rule", "plain"),
        get("/plain/").has("x-rule", "plain"),
        get("/plainly").fails(404, "NR"),
        get("/a/b/c").has("x-rule", "two"),
        get("/a/bc").fails(404, "NR"),
        get("/a").fails(404, "NR"),
    ];
    hall.check(&target, &cases).unwrap();
}

#[test]
fn methods_match_exactly() {
    let mut hall = HALL.take();
    let target = hall.service("methods").unwrap();
    let rules = [
        rule("{ method: POST }", "echo-v1"),
        rule("{ method: GET }", "echo-v2"),
        rule(
            "{ path: { type: PathPrefix, value: /path1 }, method: GET }",
            "echo-v1",
        ),
        rule(
            "{ headers: [ { name: version, value: one } ], method: PUT }",
            "echo-v2",
        ),
        rule(
            "{ path: { type: PathPrefix, value: /path2 }, headers: [ { name: version, value: two } ], method: POST }",
            "echo-v2",
        ),
    ];
    hall.routes(&[Route::http("methods").parent("methods").rules(&rules.concat())])
        .unwrap();
    let cases = [
        get("/").method("POST").body("text").reaches("echo-v1"),
        get("/").reaches("echo-v2"),
        get("/path1").reaches("echo-v1"),
        get("/path1").method("POST").body("text").reaches("echo-v1"),
        get("/")
            .method("PUT")
            .body("text")
            .with("version: one")
            .reaches("echo-v2"),
        get("/path2")
            .method("POST")
            .body("text")
            .with("version: two")
            .reaches("echo-v2"),
        get("/").method("HEAD").fails(404, "NR"),
        get("/").method("PUT").body("text").fails(404, "NR"),
        get("/").method("get").fails(404, "NR"),
    ];
    hall.check(&target, &cases).unwrap();
}

#[test]
fn headers_match_all_of_their_values_and_names_in_any_case() {
    let mut hall = HALL.take();
    let target = hall.service("headers").unwrap();
    let header = |name: &str, value: &str| format!("{{ name: {name}, value: {value} }}");
    let rules = [
        rule(
            &format!("{{ headers: [ {} ] }}", header("version", "one")),
            "echo-v1",
        ),
        rule(
            &format!("{{ headers: [ {} ] }}", header("version", "two")),
            "echo-v2",
        ),
        rule(
            &format!(
                "{{ headers: [ {}, {} ] }}",
                header("Version", "two"),
                header("Color", "orange")
            ),
            "echo-v1",
        ),
        rule(
            &format!(
                "{{ headers: [ {} ] }}, {{ headers: [ {} ] }}",
                header("color", "blue"),
                header("color", "green")
            ),
            "echo-v1",
        ),
        rule(
            &format!("{{ headers: [ {} ] }}", header("color", "red")),
            "echo-v2",
        ),
        // Of a name that stands twice in a match, the first entry counts.
        named(
            &format!(
                "{{ headers: [ {}, {} ] }}",
                header("Twice", "yes"),
                header("twice", "no")
            ),
            "twice",
        ),
        named(
            "{ headers: [ { type: RegularExpression, name: build, value: 'v[0-9]+(-rc)?' } ] }",
            "regex",
        ),
    ];
    hall.routes(&[Route::http("headers").parent("headers").rules(&rules.concat())])
        .unwrap();
    let cases = [
        get("/").with("Version: one").reaches("echo-v1"),
        get("/").with("vERSION: two").reaches("echo-v2"),
        get("/")
            .with("Version: two")
            .with("Color: orange")
            .reaches("echo-v1"),
        get("/").with("Color: blue").reaches("echo-v1"),
        get("/").with("Color: green").reaches("echo-v1"),
        get("/").with("Color: red").reaches("echo-v2"),
        get("/").with("Color: yellow").fails(404, "NR"),
        get("/").with("Color: orange").fails(404, "NR"),
        get("/")
            .with("Color: purple")
            .with("Version: three")
            .fails(404, "NR"),
        get("/").with("Version: on").fails(404, "NR"),
        get("/").with("Version: ones").fails(404, "NR"),
        get("/").with("Version: One").fails(404, "NR"),
        get("/").with("Versions: one").fails(404, "NR"),
        get("/").fails(404, "NR"),
        get("/").with("Twice: yes").has("x-rule", "twice"),
        get("/").with("Twice: no").fails(404, "NR"),
        // Lines of one name are one list (RFC 9110 §5.3).
        get("/")
            .with("Version: one")
            .with("Version: two")
            .fails(404, "NR"),
        get("/").with("Build: v12-rc").has("x-rule", "regex"),
        get("/").with("Build: xv12").fails(404, "NR"),
        get("/").with("Build: v12-rc2").fails(404, "NR"),
        get("/").http2().with("Version: two").reaches("echo-v2"),
    ];
    hall.check(&target, &cases).unwrap();
}

#[test]
fn queries_match_by_their_first_value() {
    let mut hall = HALL.take();
    let target = hall.service("queries").unwrap();
    let query = |name: &str, value: &str| format!("{{ name: {name}, value: {value} }}");
    let animal = |value: &str| query("animal", value);
    let rules = [
        rule(&format!("{{ queryParams: [ {} ] }}", animal("whale")), "echo-v1"),
        rule(
            &format!("{{ queryParams: [ {} ] }}", animal("dolphin")),
            "echo-v2",
        ),
        rule(
            &format!(
                "{{ queryParams: [ {}, {} ] }}",
                animal("dolphin"),
                query("color", "blue")
            ),
            "echo-v1",
        ),
        rule(
            &format!(
                "{{ path: {{ type: PathPrefix, value: /path1 }}, queryParams: [ {} ] }}",
                animal("whale")
            ),
            "echo-v2",
        ),
        rule(
            &format!(
                "{{ headers: [ {{ name: version, value: one }} ], queryParams: [ {} ] }}",
                animal("whale")
            ),
            "echo-v2",
        ),
        rule("{ path: { type: PathPrefix, value: /path5 } }", "echo-v1"),
        rule(&format!("{{ queryParams: [ {} ] }}", animal("hydra")), "echo-v2"),
        rule(
            "{ queryParams: [ { type: RegularExpression, name: animal, value: 'o[a-z]*s' } ] }",
            "echo-v2",
        ),
    ];
    hall.routes(&[Route::http("queries").parent("queries").rules(&rules.concat())])
        .unwrap();
    let cases = [
        get("/?animal=whale").reaches("echo-v1").query("animal=whale"),
        get("/?animal=dolphin").reaches("echo-v2"),
        get("/?color=red&animal=dolphin&more=")
            .reaches("echo-v2")
            .query("color=red&animal=dolphin&more="),
        get("/?animal=dolphin&color=blue").reaches("echo-v1"),
        get("/?color=blue&animal=dolphin").reaches("echo-v1"),
        get("/path1?animal=whale").reaches("echo-v2"),
        get("/?animal=whale").with("version: one").reaches("echo-v2"),
        get("/path5?animal=hydra").reaches("echo-v1"),
        get("/?animal=octopus").reaches("echo-v2"),
        get("/?animal=octopusses&x").reaches("echo-v2"),
        get("/?animal=xoctopus").fails(404, "NR"),
        get("/?animal=whal%65").reaches("echo-v1").query("animal=whal%65"),
        get("/?animal=whale&animal=dolphin").reaches("echo-v1"),
        get("/?animal=dolphin&animal=whale").reaches("echo-v2"),
        get("/").fails(404, "NR"),
        get("/?animal=dog").fails(404, "NR"),
        get("/?Animal=whale").fails(404, "NR"),
        get("/?animal=Whale").fails(404, "NR"),
        get("/?animal").fails(404, "NR"),
        get("/?animals=whale").fails(404, "NR"),
    ];
    hall.check(&target, &cases).unwrap();
}

#[test]
fn a_regular_expression_matches_the_whole_path() {
    let mut hall = HALL.take();
    let target = hall.service("regex-paths").unwrap();
    let rules = [
        named(
            "{ path: { type: RegularExpression, value: '/item/[0-9]+' } }",
            "number",
        ),
        named(
            "{ path: { type: RegularExpression, value: '/item/[a-z]+|/thing' } }",
            "word",
        ),
    ];
    hall.routes(&[Route::http("regex-paths")
        .parent("regex-paths")
        .rules(&rules.concat())])
        .unwrap();
    let cases = [
        get("/item/42").has("x-rule", "number"),
        get("/item/42?x=1").has("x-rule", "number"),
        get("/item/abc").has("x-rule", "word"),
        get("/thing").has("x-rule", "word"),
        get("/thing/more").fails(404, "NR"),
        get("/item/42/more").fails(404, "NR"),
        get("/an/item/42").fails(404, "NR"),
    ];
    hall.check(&target, &cases).unwrap();
}

#[test]
fn rules_may_have_names() {
    let mut hall = HALL.take();
    let target = hall.service("names").unwrap();
    let rules = [
        format!(
            "- name: a-name\n{}",
            rule("{ path: { type: PathPrefix, value: /named } }", "echo-v1").replacen('-', " ", 1)
        ),
        rule("{ path: { type: PathPrefix, value: /unnamed } }", "echo-v2"),
    ];
    let route = Route::http("names").parent("names").rules(&rules.concat());
    hall.routes(std::slice::from_ref(&route)).unwrap();
    hall.check(
        &target,
        &[
            get("/named").reaches("echo-v1"),
            get("/unnamed").reaches("echo-v2"),
        ],
    )
    .unwrap();
    let status = hall.status(&route).unwrap();
    let rules: Vec<&str> = status["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["name"].as_str().unwrap())
        .collect();
    assert_eq!(rules, ["a-name", "1"]);
}

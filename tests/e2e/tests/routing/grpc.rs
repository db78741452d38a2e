//! GRPCRoutes, and gRPC through HTTPRoutes: a client and a server of Google's grpcio.

use std::net::SocketAddr;

use mesh_e2e::case::Target;
use mesh_e2e::hall::Hall;
use mesh_e2e::peers;
use mesh_e2e::routes::Route;
use mesh_harness::{Workload, until};
use serde_json::{Value, json};

use crate::HALL;

/// gRPC's status codes (grpc.io, "Status codes and their use in gRPC").
const OK: u64 = 0;
const DEADLINE_EXCEEDED: u64 = 4;
const UNIMPLEMENTED: u64 = 12;
const UNAVAILABLE: u64 = 14;
/// Where calls go.
const PORT: u16 = 7070;

/// A call and what must become of it.
#[derive(Clone)]
struct Call {
    method: &'static str,
    metadata: Vec<(&'static str, &'static str)>,
    code: u64,
    server: Option<&'static str>,
    sees: Vec<(&'static str, Option<&'static str>)>,
}

/// A call that must succeed.
fn call(method: &'static str) -> Call {
    Call {
        method,
        metadata: Vec::new(),
        code: OK,
        server: None,
        sees: Vec::new(),
    }
}

impl Call {
    fn with(mut self, key: &'static str, value: &'static str) -> Self {
        self.metadata.push((key, value));
        self
    }

    fn fails(mut self, code: u64) -> Self {
        self.code = code;
        self
    }

    fn reaches(mut self, server: &'static str) -> Self {
        self.server = Some(server);
        self
    }

    /// The server sees this metadata; several values are joined by a comma.
    fn sees(mut self, key: &'static str, value: &'static str) -> Self {
        self.sees.push((key, Some(value)));
        self
    }

    fn unseen(mut self, key: &'static str) -> Self {
        self.sees.push((key, None));
        self
    }

    fn json(&self) -> Value {
        let metadata: Vec<[&str; 2]> = self.metadata.iter().map(|&(key, value)| [key, value]).collect();
        json!({ "method": self.method, "metadata": metadata })
    }

    fn wrong(&self, answer: &Value) -> Option<String> {
        let message = &answer["messages"][0];
        let seen = |key: &str| {
            let pairs = message["metadata"].as_array()?.iter();
            let values: Vec<&str> = pairs
                .filter(|pair| pair[0] == key)
                .filter_map(|pair| pair[1].as_str())
                .collect();
            (!values.is_empty()).then(|| values.join(","))
        };
        let is_right = answer["code"] == self.code
            && self.server.is_none_or(|server| message["server"] == server)
            && self
                .sees
                .iter()
                .all(|(key, value)| seen(key).as_deref() == *value);
        (!is_right).then(|| format!("{} {:?}: {answer}", self.method, self.metadata))
    }
}

fn send(hall: &Hall, target: &Target, client: &Workload, calls: &[Value]) -> Vec<Value> {
    let to = SocketAddr::new(target.address, PORT);
    peers::grpc(client, &hall.folder(), to, calls).unwrap()
}

/// Makes all calls from both nodes. Until the first one holds, the route may not be in force yet.
fn check(hall: &Hall, target: &Target, calls: &[Call]) {
    let asked: Vec<Value> = calls.iter().map(Call::json).collect();
    for client in [&hall.client_a, &hall.client_b] {
        until("the route to be in force", mesh_e2e::MOMENT, || {
            let answer = send(hall, target, client, &asked[..1]);
            Ok(calls[0].wrong(&answer[0]).is_none().then_some(()))
        })
        .unwrap_or_default();
        let answers = send(hall, target, client, &asked);
        assert_eq!(answers.len(), calls.len());
        let wrong: Vec<String> = calls
            .iter()
            .zip(&answers)
            .filter_map(|(call, answer)| call.wrong(answer))
            .collect();
        assert!(wrong.is_empty(), "{}:\n{}", client.name, wrong.join("\n"));
    }
}

fn rule(matches: &str, backend: &str) -> String {
    format!("- matches: [ {matches} ]\n  backendRefs: [ {{ name: {backend}, port: 7070 }} ]\n")
}

#[test]
fn without_a_route_calls_go_to_the_service() {
    let mut hall = HALL.take();
    let declared = hall.service("calls").unwrap();
    let undeclared = hall.service_of("calls-undeclared", "echo-v1", 1).unwrap();
    let calls = [
        call("/echo.Echo/Unary")
            .with("x-own", "kept")
            .with("x-own-bin", "never read as text")
            .sees("x-own", "kept"),
        call("/echo.Echo/Missing").fails(UNIMPLEMENTED),
    ];
    check(&hall, &declared, &calls);
    check(&hall, &undeclared, &calls);
}

#[test]
fn calls_are_split_by_weight_on_one_channel() {
    let mut hall = HALL.take();
    let target = hall.service("call-weights").unwrap();
    let rules = "
- backendRefs:
  - { name: echo-v1, port: 7070, weight: 70 }
  - { name: echo-v2, port: 7070, weight: 30 }
  - { name: echo-v3, port: 7070, weight: 0 }
";
    hall.routes(&[Route::grpc("call-weights").parent("call-weights").rules(rules)])
        .unwrap();
    for client in [&hall.client_a, &hall.client_b] {
        let answers = send(
            &hall,
            &target,
            client,
            &[json!({ "method": "/echo.Echo/Unary", "repeat": 500 })],
        );
        let count = |server: &str| {
            answers
                .iter()
                .filter(|one| one["messages"][0]["server"] == server)
                .count()
        };
        let (one, two) = (count("echo-v1"), count("echo-v2"));
        assert!(
            one.abs_diff(350) <= 25 && one + two == 500,
            "{one} and {two} of {}",
            answers.len()
        );
    }
}

#[test]
fn the_requests_metadata_is_edited() {
    let mut hall = HALL.take();
    let target = hall.service("call-metadata").unwrap();
    let case = |name: &str, edits: &str| {
        format!(
            "- matches: [ {{ headers: [ {{ name: x-test-case, value: {name} }} ] }} ]\n  filters:\n  \
             - {{ type: RequestHeaderModifier, requestHeaderModifier: {{ {edits} }} }}\n  \
             backendRefs: [ {{ name: echo-v1, port: 7070 }} ]\n"
        )
    };
    let rules = [
        case("set", "set: [ { name: X-Header-Set, value: set-overwrites } ]"),
        case("add", "add: [ { name: X-Header-Add, value: add-appends } ]"),
        case("remove", "remove: [ X-Header-Remove ]"),
        case(
            "all",
            "set: [ { name: X-One, value: '1' } ], add: [ { name: X-Two, value: '2' }, { name: X-Three, value: '3' } ], \
             remove: [ X-Four, X-Five ]",
        ),
    ];
    hall.routes(&[Route::grpc("call-metadata")
        .parent("call-metadata")
        .rules(&rules.concat())])
        .unwrap();
    let of = |case: &'static str| {
        call("/echo.Echo/Unary")
            .with("x-test-case", case)
            .reaches("echo-v1")
    };
    let calls = [
        of("set")
            .with("x-header-set", "theirs")
            .sees("x-header-set", "set-overwrites"),
        of("set")
            .with("some-other", "stays")
            .sees("x-header-set", "set-overwrites")
            .sees("some-other", "stays"),
        of("add").sees("x-header-add", "add-appends"),
        of("add")
            .with("x-header-add", "theirs")
            .sees("x-header-add", "theirs,add-appends"),
        of("remove")
            .with("x-header-remove", "x")
            .unseen("x-header-remove"),
        of("all")
            .with("x-two", "0")
            .with("x-four", "x")
            .sees("x-one", "1")
            .sees("x-two", "0,2")
            .sees("x-three", "3")
            .unseen("x-four"),
        call("/echo.Echo/Unary")
            .with("x-test-case", "none")
            .fails(UNIMPLEMENTED),
    ];
    check(&hall, &target, &calls);
}

#[test]
fn methods_are_matched_by_service_and_name() {
    let mut hall = HALL.take();
    let target = hall.service("call-methods").unwrap();
    let rules = [
        rule("{ method: { service: echo.Echo, method: One } }", "echo-v1"),
        rule("{ method: { service: echo.Echo, method: Two } }", "echo-v2"),
        rule("{ method: { service: echo.Whole } }", "echo-v2"),
        rule("{ method: { method: Anywhere } }", "echo-v1"),
        rule(
            "{ method: { type: RegularExpression, service: 'regex\\.[A-Z][a-z]+', method: 'Get.*' } }",
            "echo-v2",
        ),
    ];
    hall.routes(&[Route::grpc("call-methods")
        .parent("call-methods")
        .rules(&rules.concat())])
        .unwrap();
    let calls = [
        call("/echo.Echo/One").reaches("echo-v1"),
        call("/echo.Echo/Two").reaches("echo-v2"),
        call("/echo.Whole/Any").reaches("echo-v2"),
        call("/some.Service/Anywhere").reaches("echo-v1"),
        call("/regex.Item/GetOne").reaches("echo-v2"),
        call("/regex.item/GetOne").fails(UNIMPLEMENTED),
        call("/my.regex.Item/GetOne").fails(UNIMPLEMENTED),
        call("/echo.Echo/Three").fails(UNIMPLEMENTED),
        call("/echo.Echo/one").fails(UNIMPLEMENTED),
        call("/echo.Echos/One").fails(UNIMPLEMENTED),
        call("/my.echo.Echo/One").fails(UNIMPLEMENTED),
    ];
    check(&hall, &target, &calls);
}

#[test]
fn headers_are_matched_and_the_longest_service_goes_first() {
    let mut hall = HALL.take();
    let target = hall.service("call-headers").unwrap();
    let version = |value: &str| format!("headers: [ {{ name: version, value: {value} }} ]");
    let rules = [
        rule(&format!("{{ {} }}", version("one")), "echo-v1"),
        rule(&format!("{{ {} }}", version("two")), "echo-v2"),
        rule(
            "{ headers: [ { name: version, value: two }, { name: color, value: orange } ] }",
            "echo-v1",
        ),
        // Service before method before headers, by their lengths.
        rule("{ method: { method: LongestMethodName } }", "echo-v1"),
        rule("{ method: { service: a.B } }", "echo-v2"),
        rule(
            &format!("{{ method: {{ service: a.B }}, {} }}", version("one")),
            "echo-v1",
        ),
    ];
    hall.routes(&[Route::grpc("call-headers")
        .parent("call-headers")
        .rules(&rules.concat())])
        .unwrap();
    let calls = [
        call("/echo.Echo/Unary").with("version", "one").reaches("echo-v1"),
        call("/echo.Echo/Unary").with("version", "two").reaches("echo-v2"),
        call("/echo.Echo/Unary")
            .with("version", "two")
            .with("color", "orange")
            .reaches("echo-v1"),
        call("/echo.Echo/Unary")
            .with("version", "three")
            .fails(UNIMPLEMENTED),
        call("/echo.Echo/Unary").fails(UNIMPLEMENTED),
        call("/a.B/LongestMethodName").reaches("echo-v2"),
        call("/c.D/LongestMethodName").reaches("echo-v1"),
        call("/a.B/C").with("version", "one").reaches("echo-v1"),
        call("/a.B/C").with("version", "two").reaches("echo-v2"),
    ];
    check(&hall, &target, &calls);
}

#[test]
fn what_does_not_resolve_is_unavailable() {
    let mut hall = HALL.take();
    let target = hall.service("call-failures").unwrap();
    hall.service_of("call-empty", "nobody-has-this-label", 0).unwrap();
    let rules = [
        rule("{ method: { service: good.Service } }", "echo-v1"),
        rule("{ method: { service: bad.Service } }", "nobody"),
        rule("{ method: { service: empty.Service } }", "call-empty"),
        "- matches: [ { method: { service: no.Backend } } ]\n".to_owned(),
    ];
    let route = Route::grpc("call-failures")
        .parent("call-failures")
        .rules(&rules.concat());
    hall.routes(std::slice::from_ref(&route)).unwrap();
    let calls = [
        call("/good.Service/Call").reaches("echo-v1"),
        call("/bad.Service/Call").fails(UNAVAILABLE),
        call("/empty.Service/Call").fails(UNAVAILABLE),
        call("/no.Backend/Call").fails(UNAVAILABLE),
        call("/other.Service/Call").fails(UNIMPLEMENTED),
    ];
    check(&hall, &target, &calls);
    let resolved = hall.condition(&route, "ResolvedRefs").unwrap();
    assert_eq!(
        (resolved.status.as_str(), resolved.reason.as_str()),
        ("False", "BackendNotFound"),
        "{resolved:?}"
    );
}

#[test]
fn rules_of_calls_may_have_names() {
    let mut hall = HALL.take();
    let target = hall.service("call-names").unwrap();
    let rules = "
- name: named-rule
  matches: [ { method: { service: named.Service } } ]
  backendRefs: [ { name: echo-v1, port: 7070 } ]
- matches: [ { method: { service: unnamed.Service } } ]
  backendRefs: [ { name: echo-v2, port: 7070 } ]
";
    let route = Route::grpc("call-names").parent("call-names").rules(rules);
    hall.routes(std::slice::from_ref(&route)).unwrap();
    check(
        &hall,
        &target,
        &[
            call("/named.Service/A").reaches("echo-v1"),
            call("/unnamed.Service/A").reaches("echo-v2"),
        ],
    );
    assert_eq!(hall.status(&route).unwrap()["rules"][0]["name"], "named-rule");
}

#[test]
fn an_http_route_takes_calls_as_the_posts_they_are() {
    let mut hall = HALL.take();
    let target = hall.service("calls-as-http").unwrap();
    let rules = "
- matches: [ { path: { type: PathPrefix, value: /echo.Echo }, method: POST } ]
  timeouts: { request: 500ms }
  retry: { codes: [ 503 ], attempts: 2, backoff: 25ms }
  backendRefs: [ { name: echo-v1, port: 7070 } ]
- matches: [ { path: { type: Exact, value: /away.Service/Call } } ]
  backendRefs: [ { name: nobody, port: 7070 } ]
";
    hall.routes(&[Route::http("calls-as-http").parent("calls-as-http").rules(rules)])
        .unwrap();
    let calls = [
        call("/echo.Echo/Unary").reaches("echo-v1"),
        call("/echo.Echo/Unary")
            .with("x-do", "delay=1500")
            .fails(DEADLINE_EXCEEDED),
        call("/away.Service/Call").fails(UNAVAILABLE),
        call("/other.Service/Call").fails(UNIMPLEMENTED),
    ];
    check(&hall, &target, &calls);
}

#[test]
fn the_proxys_own_answers_name_their_cause() {
    let mut hall = HALL.take();
    let target = hall.service("call-causes").unwrap();
    let rules = rule("{ method: { service: bad.Service } }", "nobody");
    hall.routes(&[Route::grpc("call-causes").parent("call-causes").rules(&rules)])
        .unwrap();
    check(&hall, &target, &[call("/bad.Service/Call").fails(UNAVAILABLE)]);
    let answers = send(
        &hall,
        &target,
        &hall.client_a,
        &[
            json!({ "method": "/bad.Service/Call" }),
            json!({ "method": "/no.Match/Call" }),
        ],
    );
    for (answer, flag) in answers.iter().zip(["NC ", "NR "]) {
        let metadata = [&answer["initial"], &answer["trailing"]]
            .map(ToString::to_string)
            .concat();
        assert!(
            metadata.contains(&format!("[\"x-mesh-error\",\"{flag}")),
            "{answer}"
        );
        assert_ne!(answer["details"], "");
    }
}

#[test]
fn a_mirror_gets_a_copy_of_a_call() {
    let mut hall = HALL.take();
    let target = hall.service("call-mirror").unwrap();
    let rules = "
- filters: [ { type: RequestMirror, requestMirror: { backendRef: { name: echo-v2, port: 8082 } } } ]
  backendRefs: [ { name: echo-v1, port: 7070 } ]
";
    hall.routes(&[Route::grpc("call-mirror").parent("call-mirror").rules(rules)])
        .unwrap();
    check(
        &hall,
        &target,
        &[call("/echo.Echo/Unary")
            .with("x-key", "call-mirror")
            .reaches("echo-v1")],
    );
    // The copy goes to the server of HTTP, which writes down what it gets.
    let copy = until("the copy", mesh_e2e::MOMENT, || {
        let log = peers::log(&hall.v2)?;
        Ok(log
            .into_iter()
            .find(|entry| entry["key"] == "call-mirror" && entry["body"] == "complete"))
    });
    let copy = copy.unwrap();
    assert_eq!(
        (copy["path"].as_str(), copy["protocol"].as_str()),
        (Some("/echo.Echo/Unary"), Some("HTTP/2.0"))
    );
    // gRPC's frame: five bytes and the message.
    assert_eq!(copy["received"], 15, "{copy}");
}

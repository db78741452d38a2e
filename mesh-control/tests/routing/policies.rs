//! Traffic policies: where each is in force, and what all that is set for one place amounts to.

use std::time::Duration;

use mesh_control::world::Reason;
use mesh_model::{Balancing, PortPolicy, RequestPolicy};

use crate::mesh::{Given, Mesh, mesh};

/// A TrafficPolicy of namespace `shop`, `day` days into January.
fn policy(name: &str, day: u32, targets: &str, spec: &str) -> String {
    let created = if day == 0 {
        String::new()
    } else {
        format!(", creationTimestamp: '2026-01-{day:02}T00:00:00Z'")
    };
    format!(
        "---\napiVersion: nodemesh.io/v1alpha1\nkind: TrafficPolicy\n\
         metadata: {{ name: {name}, namespace: shop {created} }}\nspec: {{ targetRefs: [ {targets} ], {spec} }}\n"
    )
}

/// A route for port 80 of `web` with the rules `named` and one without a name.
fn route(rules: &str) -> String {
    let given = Given {
        parent: "{ group: '', kind: Service, name: web, port: 80 }",
        ..Given::default()
    };
    given.manifest_with("", rules)
}

fn seconds(duration: Option<Duration>) -> Option<u64> {
    duration.map(|duration| duration.as_secs())
}

impl Mesh {
    /// The policy of a port of `shop/web`.
    fn of_port(&self, port: u16) -> &PortPolicy {
        &self.joined.resources.services[&"shop/web".parse().unwrap()]
            .port(port)
            .unwrap()
            .policy
    }

    /// The policy of a rule at port 80 of `shop/web`.
    fn of_rule(&self, name: &str) -> RequestPolicy {
        let mut rules = self.http_rules(80).into_iter();
        rules.find(|rule| rule.name.rule == name).unwrap().policy
    }

    /// Reason and message of a policy at its first target.
    fn judged(&self, name: &str) -> (Reason, &str) {
        let mut policies = self.joined.statuses.policies.iter();
        let status = policies.find(|policy| policy.name.name() == name).unwrap();
        let accepted = &status.targets[0].accepted;
        (accepted.reason, &accepted.message)
    }
}

const WEB: &str = "{ kind: Service, name: web }";

#[test]
fn nothing_set_is_the_default() {
    let mesh = mesh("");
    assert_eq!(*mesh.of_port(80), PortPolicy::default());
}

#[test]
fn the_nearest_setting_counts_field_by_field() {
    // Each level sets one more of these, with its own number: the nearest one must win.
    let timeouts = |seconds: u64, fields: &[&str]| {
        let fields: Vec<String> = fields
            .iter()
            .map(|field| format!("{field}: {seconds}s"))
            .collect();
        format!("timeouts: {{ {} }}", fields.join(", "))
    };
    let manifests = [
        policy(
            "service",
            1,
            WEB,
            &timeouts(50, &["connect", "idle", "backendRequest", "request"]),
        ),
        policy(
            "port",
            1,
            "{ kind: Service, name: web, sectionName: http }",
            &timeouts(40, &["connect", "idle", "backendRequest", "request"]),
        ),
        policy(
            "route",
            1,
            "{ kind: HTTPRoute, name: r }",
            &timeouts(30, &["idle", "backendRequest", "request"]),
        ),
        policy(
            "rule",
            1,
            "{ kind: HTTPRoute, name: r, sectionName: named }",
            &timeouts(20, &["backendRequest", "request"]),
        ),
        route("{ name: named, timeouts: { request: 10s } }, { timeouts: { request: 10s } }, { }"),
    ];
    // request, backend request, idle of a rule named so; what remains after taking the nearest levels away.
    let expected = [
        (0, "named", [10, 20, 30]),
        (0, "1", [10, 30, 30]),
        (0, "2", [30, 30, 30]),
    ];
    let all = mesh(&manifests.concat());
    for (_, rule, expected) in expected {
        let timeouts = all.of_rule(rule).timeouts;
        let given = [timeouts.request, timeouts.backend_request, timeouts.idle].map(seconds);
        assert_eq!(given, expected.map(Some), "{rule}");
    }
    assert_eq!(seconds(all.of_port(80).backend.connect_timeout), Some(40));
    assert_eq!(seconds(all.of_port(80).request.timeouts.request), Some(40));
    assert_eq!(seconds(all.of_port(8080).backend.connect_timeout), Some(50));
    let without_route_level = mesh(
        &[&manifests[0], &manifests[1], &manifests[4]]
            .map(String::as_str)
            .concat(),
    );
    assert_eq!(
        seconds(without_route_level.of_rule("2").timeouts.request),
        Some(40)
    );
    let service_only = mesh(&[&manifests[0], &manifests[4]].map(String::as_str).concat());
    assert_eq!(seconds(service_only.of_rule("2").timeouts.request), Some(50));
    assert_eq!(seconds(service_only.of_rule("named").timeouts.request), Some(10));
    for name in ["service", "port", "route", "rule"] {
        assert_eq!(all.judged(name), (Reason::Accepted, "the policy is in force"));
    }
}

#[test]
fn what_a_service_sets_can_be_switched_off_nearer() {
    let service = policy(
        "service",
        1,
        WEB,
        "timeouts: { request: 5s }, retries: { attempts: 3 }, rateLimits: [ { requests: 1, per: 1s } ], \
         faults: [ { percent: 1, delay: 1s } ], loadBalancing: { slowStart: 10s }",
    );
    let port = policy(
        "port",
        1,
        "{ kind: Service, name: web, sectionName: http }",
        "loadBalancing: { slowStart: 0s }",
    );
    let rule = policy(
        "rule",
        1,
        "{ kind: HTTPRoute, name: r, sectionName: named }",
        "timeouts: { request: 0s }, retries: { attempts: 0 }, rateLimits: [ ], faults: [ ]",
    );
    let mesh = mesh(
        &[
            service,
            port,
            rule,
            route("{ name: named }, { retry: { codes: [ 500 ] } }"),
        ]
        .concat(),
    );
    assert_eq!(mesh.of_rule("named"), RequestPolicy::default());
    let other = mesh.of_rule("1");
    assert_eq!(seconds(other.timeouts.request), Some(5));
    assert_eq!((other.rate_limits.len(), other.faults.len()), (1, 1));
    let retry = other.retry.unwrap();
    assert_eq!(
        (retry.attempts, retry.statuses),
        (1, vec![500]),
        "a stanza counts as a whole"
    );
    assert_eq!(mesh.of_port(80).backend.slow_start, None);
    assert_eq!(seconds(mesh.of_port(8080).backend.slow_start), Some(10));
}

#[test]
fn a_route_at_two_parents_has_the_policy_of_each() {
    let given = Given {
        parent: "{ group: '', kind: Service, name: web }, { group: '', kind: Service, name: v2 }",
        ..Given::default()
    };
    let mesh = mesh(&(given.manifest() + &policy("p", 1, WEB, "timeouts: { request: 5s }")));
    assert_eq!(seconds(mesh.rule().policy.timeouts.request), Some(5));
    let routes = &mesh.joined.resources.routes[&"shop/v2".parse().unwrap()];
    match &routes.groups[0].rules {
        mesh_model::RouteRules::Http(rules) => assert_eq!(rules[0].policy, RequestPolicy::default()),
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn of_two_policies_for_one_field_the_older_is_in_force() {
    let young = policy(
        "a",
        2,
        WEB,
        "timeouts: { request: 1s }, loadBalancing: { policy: Random }",
    );
    let old = policy("b", 1, WEB, "timeouts: { request: 2s }");
    let unknown = policy("c", 0, WEB, "timeouts: { request: 3s }");
    let beside = policy("d", 3, WEB, "retries: { }, loadBalancing: { policy: PeakEwma }");
    let mesh = mesh(&[young, old, unknown, beside].concat());
    assert_eq!(seconds(mesh.of_port(80).request.timeouts.request), Some(2));
    assert_eq!(mesh.judged("b").0, Reason::Accepted);
    assert_eq!(
        mesh.judged("a"),
        (
            Reason::Conflicted,
            "TrafficPolicy shop/b sets spec.timeouts.request for it as well, and goes before"
        )
    );
    assert_eq!(mesh.judged("c").0, Reason::Conflicted);
    // The loser is out as a whole, so that its other fields stand in nobody's way.
    assert_eq!(mesh.judged("d").0, Reason::Accepted);
    assert_eq!(mesh.of_port(80).backend.balancing, Balancing::PeakEwma);
    assert!(mesh.of_port(80).request.retry.is_some());
    assert_eq!(mesh.warnings().len(), 2);
    let by_name = crate::mesh::mesh(
        &[
            policy("z", 1, WEB, "timeouts: { idle: 1s }"),
            policy("y", 1, WEB, "timeouts: { idle: 2s }"),
        ]
        .concat(),
    );
    assert_eq!(seconds(by_name.of_port(80).request.timeouts.idle), Some(2));
    assert_eq!(by_name.judged("z").0, Reason::Conflicted);
}

#[test]
fn a_policy_needs_a_target_that_can_have_it() {
    let request = "timeouts: { request: 1s }";
    let endpoints = "circuitBreaking: { maxRequests: 1 }";
    for (target, spec, reason, words) in [
        (
            "kind: Service, name: gone",
            request,
            Reason::TargetNotFound,
            "there is no Service shop/gone",
        ),
        (
            "kind: Service, name: api",
            request,
            Reason::TargetNotFound,
            "there is no Service shop/api",
        ),
        (
            "kind: Service, name: web, sectionName: x",
            request,
            Reason::TargetNotFound,
            "Service shop/web has no port named 'x'",
        ),
        (
            "kind: HTTPRoute, name: x",
            request,
            Reason::TargetNotFound,
            "there is no HTTPRoute shop/x",
        ),
        (
            "kind: GRPCRoute, name: r",
            request,
            Reason::TargetNotFound,
            "there is no GRPCRoute shop/r",
        ),
        (
            "kind: HTTPRoute, name: r, sectionName: '1'",
            request,
            Reason::TargetNotFound,
            "HTTPRoute shop/r has no rule named '1'",
        ),
        (
            "kind: HTTPRoute, name: r",
            endpoints,
            Reason::UnsupportedValue,
            "spec.circuitBreaking.maxRequests is about endpoints: set it for the Service, not for a route",
        ),
        (
            "kind: TCPRoute, name: bytes",
            request,
            Reason::UnsupportedValue,
            "the connections of a TCPRoute have no policy but their Service's: make that the target",
        ),
        (
            "kind: Pod, name: x",
            request,
            Reason::UnsupportedValue,
            "'Pod' of group '' can't have a TrafficPolicy",
        ),
        (
            "kind: Service, group: example.com, name: web",
            request,
            Reason::UnsupportedValue,
            "'Service' of group 'example.com' can't have a TrafficPolicy",
        ),
    ] {
        let bytes = Given {
            kind: "TCPRoute",
            name: "shop/bytes",
            parent: "{ group: '', kind: Service, name: web, port: 5432 }",
            ..Given::default()
        };
        let policy = policy("p", 1, &format!("{{ {target} }}"), spec);
        let mesh = mesh(&[bytes.manifest(), route("{ name: named }, { }"), policy].concat());
        let (given, message) = mesh.judged("p");
        assert!(given == reason && message.contains(words), "{target}: {message}");
        assert_eq!(mesh.warnings(), [format!("spec.targetRefs[0]: {message}")]);
        assert_eq!(mesh.of_rule("named"), RequestPolicy::default());
        assert_eq!(*mesh.of_port(80), PortPolicy::default());
    }
}

#[test]
fn each_target_is_judged_by_itself() {
    let mesh = mesh(
        &[
            route("{ name: named }"),
            policy(
                "p",
                1,
                "{ kind: Service, name: web }, { kind: HTTPRoute, name: r }, { kind: Service, name: gone }",
                "timeouts: { request: 1s, connect: 2s }",
            ),
        ]
        .concat(),
    );
    let reasons: Vec<Reason> = mesh.joined.statuses.policies[0]
        .targets
        .iter()
        .map(|target| target.accepted.reason)
        .collect();
    assert_eq!(
        reasons,
        [Reason::Accepted, Reason::UnsupportedValue, Reason::TargetNotFound]
    );
    assert_eq!(seconds(mesh.of_port(80).backend.connect_timeout), Some(2));
}

#[test]
fn a_policy_that_cannot_be_done_is_out_of_force_everywhere() {
    let broken = "timeouts: { request: 1s }, faults: [ { percent: 1, delay: 1s, \
                  matches: [ { path: { type: RegularExpression, value: '(' } } ] } ]";
    let mesh = mesh(&policy("p", 1, WEB, broken));
    let (reason, message) = mesh.judged("p");
    assert_eq!(reason, Reason::UnsupportedValue);
    assert!(message.starts_with("spec.faults[0].matches[0]: "), "{message}");
    assert_eq!(*mesh.of_port(80), PortPolicy::default());
    assert_eq!(mesh.warnings().len(), 1);
}

#[test]
fn a_consumers_policy_is_for_its_own_routes() {
    let consumer = Given {
        name: "far/mine",
        parent: "{ group: '', kind: Service, name: web, namespace: shop, port: 80 }",
        ..Given::default()
    };
    let of_consumer = policy(
        "mine",
        1,
        "{ kind: HTTPRoute, name: mine }",
        "timeouts: { request: 7s }",
    )
    .replace("namespace: shop", "namespace: far");
    let of_service = policy("p", 1, WEB, "timeouts: { request: 1s, idle: 2s }");
    let mesh = mesh(&[consumer.manifest(), of_consumer, of_service].concat());
    let routes = &mesh.joined.resources.routes[&"shop/web".parse().unwrap()];
    match &routes.group(80, "far").unwrap().rules {
        mesh_model::RouteRules::Http(rules) => {
            let timeouts = &rules[0].policy.timeouts;
            assert_eq!(
                (seconds(timeouts.request), seconds(timeouts.idle)),
                (Some(7), Some(2))
            );
        }
        other => unreachable!("{other:?}"),
    }
}

//! What is joined reaches nodes as it is: nothing that a manifest may say is refused on the way, or changed.

use mesh_api::{EncodedResource, decode};
use mesh_control::world::{Resources, Severity};
use mesh_http::table::Table;
use mesh_model::{Change, RouteRules};

use proptest::prelude::*;

use crate::mesh::{Mesh, join, load, mesh};
use crate::order;

/// A rule with everything that an HTTPRoute may say, and a policy with everything that a TrafficPolicy may.
const EVERYTHING: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: r, namespace: shop }
spec:
  parentRefs: [ { group: '', kind: Service, name: web, port: 80 } ]
  rules:
  - matches:
    - path: { value: /a }
      method: GET
      headers: [ { name: X, value: 'a b' }, { name: y, type: RegularExpression, value: '[a-z]+' } ]
      queryParams: [ { name: q, value: '1' } ]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: { set: [ { name: a, value: b } ], add: [ { name: c, value: d } ], remove: [ e ] }
    - type: URLRewrite
      urlRewrite: { hostname: a.example, path: { type: ReplacePrefixMatch, replacePrefixMatch: '' } }
    - type: CORS
      cors: { allowOrigins: [ 'https://*.a.example' ], allowMethods: [ '*' ], allowHeaders: [ X-A ], maxAge: 1 }
    - type: RequestMirror
      requestMirror: { backendRef: { name: v2, port: 80 }, fraction: { numerator: 1, denominator: 3 } }
    - type: RequestMirror
      requestMirror: { backendRef: { name: gone, port: 80 }, percent: 0 }
    backendRefs:
    - { name: v1, port: 80, weight: 0, filters: [ { type: RequestRedirect, requestRedirect: { scheme: https, port: 1, statusCode: 308 } } ] }
    - { name: gone, port: 80 }
    timeouts: { request: 99999h99999h99999h99999h, backendRequest: 1ms }
    retry: { codes: [ 400, 599 ], attempts: 100, backoff: 9999h }
    sessionPersistence: { }
  - { }
---
apiVersion: nodemesh.io/v1alpha1
kind: TrafficPolicy
metadata: { name: p, namespace: shop }
spec:
  targetRefs: [ { kind: Service, name: web }, { kind: Service, name: v2 } ]
  timeouts: { request: 10s, backendRequest: 2s, idle: 5m, connect: 1ms }
  retries: { attempts: 100, statuses: [ 5xx, 400 ], grpcStatuses: [ CANCELLED, UNAUTHENTICATED ], on: [ ], nonIdempotent: true, backoff: { base: 1ms, max: 1ms } }
  retryBudget: { percent: 100, minPerSecond: 0 }
  loadBalancing: { policy: Maglev, hash: { query: 'a b' }, locality: Failover, slowStart: 1h }
  sessionAffinity: { cookie: { name: sid, maxAge: 1h, path: /a } }
  circuitBreaking: { maxConnections: 1, maxPendingRequests: 0, maxRequests: 1, perEndpoint: { maxConnections: 1, maxRequests: 1 }, maxRequestsPerConnection: 1 }
  outlierDetection: { consecutive5xx: 1, consecutiveGatewayErrors: 1, successRate: { deviations: 0 }, maxEjectedPercent: 0 }
  rateLimits: [ { requests: 4294967295, per: 1ms }, { requests: 1, per: 1h, burst: 5, key: ClientIdentity } ]
  faults: [ { percent: 0, delay: 1ms }, { percent: 100, abort: { status: 599 }, matches: [ { path: { type: Exact, value: /a } } ] }, { percent: 1, abort: { grpcStatus: CANCELLED } } ]
---
apiVersion: nodemesh.io/v1alpha1
kind: TrafficPolicy
metadata: { name: q, namespace: shop }
spec: { targetRefs: [ { kind: Service, name: v1 } ], loadBalancing: { policy: RingHash, hash: { sourceAddress: true } } }
";

/// Every route and Service arrives as it was sent, and nodes' tables take every route.
fn expect_arrival(resources: &Resources) {
    for routes in resources.routes.values() {
        let encoded = EncodedResource::routes(routes);
        let arrived = decode(encoded.resource_type, &encoded.to_wire()).unwrap();
        assert_eq!(arrived, Change::Routes(routes.clone()));
        for group in &routes.groups {
            match &group.rules {
                RouteRules::Http(rules) => drop(Table::http(rules, |place, _| place).unwrap()),
                RouteRules::Grpc(rules) => drop(Table::grpc(rules, |place, _| place).unwrap()),
                RouteRules::Tls(_) | RouteRules::Tcp(_) => {}
            }
        }
    }
    for service in resources.services.values() {
        let encoded = EncodedResource::service(service);
        let arrived = decode(encoded.resource_type, &encoded.to_wire()).unwrap();
        assert_eq!(arrived, Change::Service(service.clone()));
    }
}

#[test]
fn everything_that_may_be_said_arrives() {
    let mesh = mesh(EVERYTHING);
    let rule = &mesh.http_rules(80)[0];
    assert_eq!((rule.filters.len(), rule.backends.len()), (5, 2));
    assert_eq!(rule.policy.rate_limits.len(), 2);
    assert_eq!(rule.policy.faults.len(), 3);
    expect_arrival(&mesh.joined.resources);
}

#[test]
fn routes_of_every_kind_arrive() {
    let Mesh { joined } = mesh(&order::manifests());
    expect_arrival(&joined.resources);
}

#[test]
fn the_examples_of_the_reference_are_in_force() {
    let reference = include_str!("../../../docs/manifests.md");
    let examples = reference
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let mut routed = 0;
    for example in
        examples.filter(|example| example.contains("HTTPRoute") || example.contains("TrafficPolicy"))
    {
        // The names of the tests' Services are others.
        let mesh = mesh(
            &example
                .replace("namespace: shop", "namespace: docs")
                .replace("10.96.0.", "10.97.0."),
        );
        assert_eq!(mesh.warnings(), Vec::<String>::new(), "{example}");
        expect_arrival(&mesh.joined.resources);
        routed += 1;
    }
    assert_eq!(routed, 2);
}

/// Words and marks that turn one valid manifest into another, or into nonsense.
const SNIPPETS: [&str; 24] = [
    "",
    "0",
    "1",
    "-1",
    "65536",
    "4294967296",
    "0s",
    "1ms",
    "9999h",
    "'('",
    "'*'",
    "/",
    "/a/",
    "'a b'",
    "Exact",
    "RegularExpression",
    "HTTPRoute",
    "[ ]",
    "{ }",
    "null",
    "true",
    "gone",
    "\"\\0\"",
    ".nan",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// One value of the manifest becomes something else. Whatever that is, mesh-control takes it and nodes can use it, or
    /// says what is wrong.
    #[test]
    fn what_is_taken_arrives(place in any::<prop::sample::Index>(), snippet in prop::sample::select(&SNIPPETS[..])) {
        let values: Vec<(usize, &str)> = EVERYTHING
            .split_inclusive([' ', ',', '\n'])
            .scan(0, |at, word| {
                let start = *at;
                *at += word.len();
                Some((start, word.trim_end_matches([' ', ',', '\n'])))
            })
            .filter(|(_, word)| !word.is_empty() && !word.ends_with(':'))
            .collect();
        let (start, word) = *place.get(&values);
        let mut text = EVERYTHING.to_owned();
        text.replace_range(start..start + word.len(), snippet);
        let load = load(&text);
        let joined = join(&load.inputs);
        let is_said = load.problems.iter().any(|problem| problem.severity == Severity::Error);
        if joined.is_usable() && !is_said {
            expect_arrival(&joined.resources);
        }
        for route in &joined.statuses.routes {
            prop_assert!(route.parents.iter().all(|parent| parent.conditions.len() == 2));
        }
    }
}

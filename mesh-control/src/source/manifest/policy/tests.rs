//! What a TrafficPolicy may say, what it becomes, and the exact words for what it can't be.

use std::path::Path;
use std::time::Duration;

use mesh_model::{
    Balancing, FaultKind, HashKey, LocalityPreference, PathMatch, RateLimitKey, RetryBudget, RetryOn,
    SuccessRate,
};

use super::*;
use crate::source::manifest::tests::table::cases;
use crate::source::manifest::{Manifest, parse};
use crate::world::{Age, Problem, Severity};

const SECOND: Duration = Duration::from_secs(1);

/// A policy for a Service; `spec` is indented by two spaces.
fn manifest(spec: &str) -> String {
    format!(
        "apiVersion: nodemesh.io/v1alpha1\nkind: TrafficPolicy\nmetadata: {{ name: p, namespace: shop }}\n\
         spec:\n  targetRefs: [ {{ kind: Service, name: web }} ]\n{spec}"
    )
}

fn read(text: &str) -> (Option<TrafficPolicy>, Vec<Problem>) {
    let mut report = Report::default();
    let mut manifests = parse(Path::new("x.yaml"), text, &mut report);
    let policy = match manifests.pop() {
        Some(Manifest::Policy(policy)) => Some(policy.value),
        Some(other) => panic!("{other:?}"),
        None => None,
    };
    (policy, report.into_problems())
}

fn good(spec: &str) -> TrafficPolicy {
    let (policy, problems) = read(&manifest(spec));
    assert_eq!(problems, [], "{spec}");
    let policy = policy.unwrap();
    assert_eq!(policy.refusals, [], "{spec}");
    policy
}

fn expect_error(spec: &str, field: &str, words: &str) {
    let (_, problems) = read(&manifest(spec));
    assert!(
        problems.len() == 1
            && problems[0].severity == Severity::Error
            && problems[0].field == field
            && problems[0].message.contains(words),
        "expected {field}: {words}\n{problems:?}"
    );
}

#[test]
fn reads_targets() {
    let text = "apiVersion: nodemesh.io/v1alpha1\nkind: TrafficPolicy\n\
                metadata: { name: p, generation: 3, creationTimestamp: '1970-01-01T00:00:01Z' }\n\
                spec: { targetRefs: [ { group: '', kind: Service, name: web, sectionName: http }, \
                { group: gateway.networking.k8s.io, kind: HTTPRoute, name: r } ], timeouts: { request: 1s } }\n";
    let (policy, problems) = read(text);
    assert_eq!(problems, []);
    let policy = policy.unwrap();
    assert_eq!(
        (policy.age, policy.generation),
        (Age::Created(1_000_000_000), Some(3))
    );
    let targets: Vec<_> = policy
        .targets
        .iter()
        .map(|target| {
            (
                target.kind.as_str(),
                target.name.as_str(),
                target.section.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        targets,
        [("Service", "web", Some("http")), ("HTTPRoute", "r", None)]
    );
}

#[test]
fn reads_all_that_is_about_requests() {
    let policy = good(
        "  timeouts: { request: 10s, backendRequest: 2s, idle: 5m, connect: 500ms }
  retries:
    attempts: 3
    statuses: [ 599, gateway-error, 409 ]
    grpcStatuses: [ UNAVAILABLE, CANCELLED ]
    on: [ Reset, ConnectFailure ]
    nonIdempotent: true
    backoff: { base: 10ms, max: 1s }
  sessionAffinity: { cookie: { name: sid, maxAge: 1h, path: /app } }
  rateLimits:
  - { requests: 100, per: 1s }
  - { requests: 5, per: 1m, burst: 2, key: ClientIdentity }
  faults:
  - { percent: 12.5, delay: 2s }
  - { percent: 100, abort: { status: 503 }, matches: [ { path: { value: /a } } ] }
  - { percent: 0.0001, abort: { grpcStatus: UNAUTHENTICATED } }
",
    );
    let request = policy.request;
    assert_eq!(request.request_timeout, Some(10 * SECOND));
    assert_eq!(request.backend_timeout, Some(2 * SECOND));
    assert_eq!(request.idle_timeout, Some(300 * SECOND));
    assert_eq!(policy.backend.connect_timeout, Some(SECOND / 2));
    let retry = request.retry.unwrap();
    assert_eq!(retry.attempts, 3);
    assert_eq!(retry.statuses, [409, 502, 503, 504, 599]);
    assert_eq!(retry.grpc_statuses, [1, 14]);
    assert_eq!(retry.on, [RetryOn::ConnectFailure, RetryOn::Reset]);
    assert!(retry.non_idempotent);
    assert_eq!((retry.backoff, retry.max_backoff), (SECOND / 100, SECOND));
    let affinity = request.affinity.unwrap();
    assert_eq!(
        (affinity.name.as_str(), affinity.max_age, affinity.path.as_str()),
        ("sid", Some(3600 * SECOND), "/app")
    );
    let limits: Vec<_> = request
        .rate_limits
        .unwrap()
        .iter()
        .map(|limit| (limit.requests, limit.interval, limit.burst, limit.key))
        .collect();
    assert_eq!(
        limits,
        [
            (100, SECOND, 100, RateLimitKey::Service),
            (5, 60 * SECOND, 2, RateLimitKey::ClientIdentity),
        ]
    );
    let faults = request.faults.unwrap();
    let kinds: Vec<_> = faults
        .iter()
        .map(|fault| (fault.per_million, fault.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            (125_000, FaultKind::Delay(2 * SECOND)),
            (1_000_000, FaultKind::Abort(503)),
            (1, FaultKind::AbortGrpc(16)),
        ]
    );
    assert_eq!(faults[0].matches, [], "for all");
    assert_eq!(faults[1].matches[0].path, PathMatch::Prefix("/a".to_owned()));
}

#[test]
fn retries_without_words_are_for_connections_that_fail() {
    let retry = good("  retries: { }\n").request.retry.unwrap();
    assert_eq!(
        (retry.attempts, retry.statuses.len(), retry.grpc_statuses.len()),
        (1, 0, 0)
    );
    assert_eq!(
        retry.on,
        [RetryOn::ConnectFailure, RetryOn::Reset, RetryOn::Timeout]
    );
    assert!(!retry.non_idempotent);
    assert_eq!(
        (retry.backoff, retry.max_backoff),
        (Duration::from_millis(25), Duration::from_millis(250))
    );
    let all = good("  retries: { statuses: [ 5xx ], on: [ ] }\n")
        .request
        .retry
        .unwrap();
    assert_eq!((all.statuses.len(), all.on.len()), (100, 0));
}

#[test]
fn reads_all_that_is_about_endpoints() {
    let backend = good(
        "  retryBudget: { percent: 50, minPerSecond: 3 }
  loadBalancing: { policy: RingHash, hash: { header: X-User }, locality: Failover, slowStart: 30s }
  circuitBreaking:
    maxConnections: 1
    maxPendingRequests: 0
    maxRequests: 3
    perEndpoint: { maxConnections: 4, maxRequests: 5 }
    maxRequestsPerConnection: 6
  outlierDetection:
    consecutive5xx: 7
    consecutiveGatewayErrors: 3
    successRate: { minEndpoints: 3, minRequests: 50, deviations: 2.5 }
    interval: 5s
    baseEjection: 10s
    maxEjection: 1m
    maxEjectedPercent: 50
",
    )
    .backend;
    assert_eq!(
        backend.retry_budget,
        Some(RetryBudget {
            percent: 50,
            min_per_second: 3
        })
    );
    assert_eq!(
        backend.balancing,
        Some(Balancing::RingHash {
            key: HashKey::Header("x-user".to_owned()),
            min_size: 1024
        })
    );
    assert_eq!(backend.locality, Some(LocalityPreference::Failover));
    assert_eq!(backend.slow_start, Some(30 * SECOND));
    let limits = [
        backend.max_connections,
        backend.max_pending,
        backend.max_requests,
        backend.endpoint_max_connections,
        backend.endpoint_max_requests,
        backend.max_requests_per_connection,
    ];
    assert_eq!(limits, [1, 0, 3, 4, 5, 6].map(Some));
    let outliers = backend.outliers.unwrap();
    assert_eq!(
        (outliers.consecutive_5xx, outliers.consecutive_gateway),
        (Some(7), Some(3))
    );
    assert_eq!(
        outliers.success_rate,
        Some(SuccessRate {
            min_endpoints: 3,
            min_requests: 50,
            deviations_thousandths: 2500
        })
    );
    assert_eq!(
        (
            outliers.interval,
            outliers.base_ejection,
            outliers.max_ejection,
            outliers.max_ejected_percent
        ),
        (5 * SECOND, 10 * SECOND, 60 * SECOND, 50)
    );
}

#[test]
fn defaults_are_envoys() {
    let outliers = good("  outlierDetection: { }\n").backend.outliers.unwrap();
    assert_eq!(outliers.consecutive_5xx, Some(5), "something must be detected");
    assert_eq!(
        (outliers.consecutive_gateway, outliers.success_rate),
        (None, None)
    );
    assert_eq!(
        (
            outliers.interval,
            outliers.base_ejection,
            outliers.max_ejection,
            outliers.max_ejected_percent
        ),
        (10 * SECOND, 30 * SECOND, 300 * SECOND, 10)
    );
    let rate = good("  outlierDetection: { successRate: { } }\n")
        .backend
        .outliers
        .unwrap();
    assert_eq!(rate.consecutive_5xx, None, "only what is asked for");
    assert_eq!(
        rate.success_rate,
        Some(SuccessRate {
            min_endpoints: 5,
            min_requests: 100,
            deviations_thousandths: 1900
        })
    );
    let longer = good("  outlierDetection: { baseEjection: 10m }\n")
        .backend
        .outliers
        .unwrap();
    assert_eq!(longer.max_ejection, 600 * SECOND);
    assert_eq!(
        good("  retryBudget: { percent: 30 }\n").backend.retry_budget,
        Some(RetryBudget {
            percent: 30,
            min_per_second: 10
        })
    );
    for (balancing, expected) in [
        ("policy: LeastRequest", Balancing::LeastRequest),
        ("policy: PeakEwma", Balancing::PeakEwma),
        ("policy: RoundRobin", Balancing::RoundRobin),
        ("policy: Random", Balancing::Random),
        (
            "policy: Maglev, hash: { sourceAddress: true }",
            Balancing::Maglev {
                key: HashKey::SourceAddress,
                table_size: 65537,
            },
        ),
        (
            "policy: Maglev, hash: { cookie: sid }",
            Balancing::Maglev {
                key: HashKey::Cookie("sid".to_owned()),
                table_size: 65537,
            },
        ),
        (
            "policy: RingHash, hash: { query: user }",
            Balancing::RingHash {
                key: HashKey::Query("user".to_owned()),
                min_size: 1024,
            },
        ),
    ] {
        let policy = good(&format!("  loadBalancing: {{ {balancing} }}\n"));
        assert_eq!(policy.backend.balancing, Some(expected));
    }
}

#[test]
fn says_which_fields_are_set() {
    let fields = |spec: &str| {
        let policy = good(spec);
        policy
            .request
            .fields()
            .chain(policy.backend.fields())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        fields("  timeouts: { connect: 1s, idle: 1s }\n  loadBalancing: { slowStart: 1s }\n"),
        [
            "spec.timeouts.idle",
            "spec.loadBalancing.slowStart",
            "spec.timeouts.connect"
        ]
    );
    let (_, problems) = read(&manifest("  timeouts: { }\n"));
    assert_eq!(
        (problems[0].severity, problems[0].message.as_str()),
        (Severity::Note, "sets nothing")
    );
}

#[test]
fn mistakes_are_named() {
    for (spec, field, words) in cases(include_str!("errors.table")) {
        expect_error(&format!("  {spec}\n"), field, words);
    }
    for (targets, field, words) in [
        ("[ ]", "spec.targetRefs", "is empty"),
        (
            "[ { kind: Service, name: a }, { kind: Service, name: a } ]",
            "spec.targetRefs[1]",
            "says the same as another entry",
        ),
        (
            "[ { kind: a/b, name: a } ]",
            "spec.targetRefs[0].kind",
            "'a/b' is no kind",
        ),
        (
            "[ { kind: Service, name: a, namespace: b } ]",
            "spec.targetRefs[0].namespace",
            "unknown field `namespace`",
        ),
    ] {
        let text =
            manifest("  timeouts: { idle: 1s }\n").replace("[ { kind: Service, name: web } ]", targets);
        let (_, problems) = read(&text);
        assert!(
            problems.len() == 1 && problems[0].field == field && problems[0].message.contains(words),
            "{problems:?}"
        );
    }
}

#[test]
fn a_match_of_a_fault_that_is_not_known_takes_the_policy_out_of_force() {
    let (policy, problems) = read(&manifest(
        "  faults: [ { percent: 1, delay: 1s, matches: [ { path: { type: RegularExpression, value: '(' } } ] } ]\n",
    ));
    assert_eq!(problems, []);
    let refusals = policy.unwrap().refusals;
    assert_eq!(
        (refusals.len(), refusals[0].field.as_str()),
        (1, "spec.faults[0].matches[0]")
    );
}

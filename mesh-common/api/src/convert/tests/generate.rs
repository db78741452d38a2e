//! Arbitrary routes and policies, every part of them present and absent.

use std::time::Duration;

use mesh_model::{
    BackendPolicy, BackendTarget, Balancing, CookieAffinity, Cors, Fault, FaultKind, Filter, HashKey,
    HeaderEdits, HttpMatch, HttpRule, Limits, Locality, LocalityPreference, Mirror, OutlierDetection,
    PathEdit, PathMatch, PortPolicy, RateLimit, RateLimitKey, Redirect, RequestPolicy, Retry, RetryBudget,
    RetryOn, Rewrite, RouteGroup, RouteRules, RuleName, ServiceRoutes, SuccessRate, TcpRule, TextMatch,
    Timeouts, TlsRule, ValueMatch, WeightedBackend,
};
use proptest::prelude::*;
use proptest::sample::select;

use super::names;
use crate::convert::check::MAX_DURATION;

/// Bits of text with what could go wrong on the way: empty, beyond ASCII, with separators.
fn text() -> impl Strategy<Value = String> {
    "[ -~äß漢]{0,8}"
}

fn header_name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9-]{0,8}"
}

fn path() -> impl Strategy<Value = String> {
    "/[a-z/.%]{0,8}"
}

fn list<T: std::fmt::Debug>(of: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    prop::collection::vec(of, 0..3)
}

fn maybe<T: std::fmt::Debug>(of: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    prop::option::of(of)
}

fn durations() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (1..5_000_000_000_u64).prop_map(Duration::from_nanos),
        (1..=MAX_DURATION.as_secs()).prop_map(Duration::from_secs),
    ]
}

fn targets() -> impl Strategy<Value = BackendTarget> {
    prop_oneof![
        (names(), 1..=u16::MAX).prop_map(|(service, port)| BackendTarget::Service {
            service: service.parse().unwrap(),
            port
        }),
        text().prop_map(|reason| BackendTarget::Invalid { reason }),
    ]
}

fn texts() -> impl Strategy<Value = TextMatch> {
    prop_oneof![
        text().prop_map(TextMatch::Exact),
        text().prop_map(TextMatch::Regex)
    ]
}

fn values() -> impl Strategy<Value = ValueMatch> {
    (header_name(), texts()).prop_map(|(name, value)| ValueMatch { name, value })
}

fn matches() -> impl Strategy<Value = HttpMatch> {
    let path = prop_oneof![
        path().prop_map(PathMatch::Exact),
        path().prop_map(PathMatch::Prefix),
        text().prop_map(PathMatch::Regex),
        (maybe(texts()), maybe(texts())).prop_map(|(service, method)| PathMatch::Grpc { service, method }),
    ];
    (path, maybe("[A-Z]{1,7}"), list(values()), list(values())).prop_map(|(path, method, headers, query)| {
        HttpMatch {
            path,
            method,
            headers,
            query,
        }
    })
}

fn edits() -> impl Strategy<Value = HeaderEdits> {
    let headers = || list((header_name(), text()));
    (headers(), headers(), list(header_name())).prop_map(|(set, add, remove)| HeaderEdits {
        set,
        add,
        remove,
    })
}

fn path_edits() -> impl Strategy<Value = PathEdit> {
    prop_oneof![text().prop_map(PathEdit::Full), text().prop_map(PathEdit::Prefix)]
}

fn redirects() -> impl Strategy<Value = Redirect> {
    (
        maybe(select(vec!["http", "https"])),
        maybe("[a-z]{1,5}\\.example"),
        maybe(path_edits()),
        maybe(1..=u16::MAX),
        select(vec![301, 302, 303, 307, 308]),
    )
        .prop_map(|(scheme, hostname, path, port, status)| Redirect {
            scheme: scheme.map(str::to_owned),
            hostname,
            path,
            port,
            status,
        })
}

fn cors() -> impl Strategy<Value = Cors> {
    let texts = || list("[!-~]{1,9}");
    (texts(), any::<bool>(), texts(), texts(), texts(), any::<u32>()).prop_map(
        |(allow_origins, allow_credentials, allow_methods, allow_headers, expose_headers, max_age)| Cors {
            allow_origins,
            allow_credentials,
            allow_methods,
            allow_headers,
            expose_headers,
            max_age,
        },
    )
}

fn filters() -> impl Strategy<Value = Filter> {
    let mirror =
        (targets(), any::<u32>(), 1..=u32::MAX).prop_map(|(target, numerator, denominator)| Mirror {
            target,
            numerator,
            denominator,
        });
    let rewrite = (maybe("[a-z]{1,5}\\.example"), maybe(path_edits()))
        .prop_map(|(hostname, path)| Rewrite { hostname, path });
    prop_oneof![
        edits().prop_map(Filter::RequestHeaders),
        edits().prop_map(Filter::ResponseHeaders),
        redirects().prop_map(Filter::Redirect),
        rewrite.prop_map(Filter::Rewrite),
        mirror.prop_map(Filter::Mirror),
        cors().prop_map(Filter::Cors),
    ]
}

fn backends() -> impl Strategy<Value = WeightedBackend> {
    (any::<u32>(), targets(), list(filters())).prop_map(|(weight, target, filters)| WeightedBackend {
        weight,
        target,
        filters,
    })
}

fn rule_names() -> impl Strategy<Value = RuleName> {
    (names(), "[a-z0-9]{1,5}").prop_map(|(route, rule)| RuleName {
        route: route.parse().unwrap(),
        rule,
    })
}

fn http_rules() -> impl Strategy<Value = HttpRule> {
    (
        rule_names(),
        prop::collection::vec(matches(), 1..3),
        list(filters()),
        list(backends()),
        request_policies(),
    )
        .prop_map(|(name, matches, filters, backends, policy)| HttpRule {
            name: name.into(),
            matches,
            filters,
            backends,
            policy,
        })
}

fn rules() -> impl Strategy<Value = RouteRules> {
    let tls = (
        rule_names(),
        list("(\\*\\.)?[a-z]{1,5}\\.example"),
        list(backends()),
    )
        .prop_map(|(name, server_names, backends)| TlsRule {
            name: name.into(),
            server_names,
            backends,
        });
    let tcp = (rule_names(), list(backends())).prop_map(|(name, backends)| TcpRule {
        name: name.into(),
        backends,
    });
    prop_oneof![
        list(http_rules()).prop_map(RouteRules::Http),
        list(http_rules()).prop_map(RouteRules::Grpc),
        list(tls).prop_map(RouteRules::Tls),
        list(tcp).prop_map(RouteRules::Tcp),
    ]
}

/// Routes of one Service, of every kind.
pub(super) fn routes() -> impl Strategy<Value = ServiceRoutes> {
    let groups = prop::collection::btree_map((1..=u16::MAX, maybe("[a-z]{1,5}")), rules(), 0..3);
    (names(), groups).prop_map(|(service, groups)| ServiceRoutes {
        service: service.parse().unwrap(),
        groups: groups
            .into_iter()
            .map(|((port, consumer), rules)| RouteGroup {
                port,
                consumer,
                rules,
            })
            .collect(),
    })
}

fn retries() -> impl Strategy<Value = Retry> {
    (
        any::<u32>(),
        list(100..=599_u16),
        list(1..=16_u32),
        list(select(vec![
            RetryOn::ConnectFailure,
            RetryOn::Reset,
            RetryOn::Timeout,
        ])),
        any::<bool>(),
        durations(),
        durations(),
    )
        .prop_map(
            |(attempts, statuses, grpc_statuses, on, non_idempotent, one, other)| Retry {
                attempts,
                statuses,
                grpc_statuses,
                on,
                non_idempotent,
                backoff: one.min(other),
                max_backoff: one.max(other),
            },
        )
}

fn rate_limits() -> impl Strategy<Value = RateLimit> {
    let keys = select(vec![RateLimitKey::Service, RateLimitKey::ClientIdentity]);
    (any::<u32>(), durations(), 1..=u32::MAX, keys).prop_map(|(requests, interval, burst, key)| RateLimit {
        requests,
        interval,
        burst,
        key,
    })
}

fn faults() -> impl Strategy<Value = Fault> {
    let kinds = prop_oneof![
        durations().prop_map(FaultKind::Delay),
        (200..=599_u16).prop_map(FaultKind::Abort),
        (1..=16_u32).prop_map(FaultKind::AbortGrpc),
    ];
    (list(matches()), 0..=1_000_000_u32, kinds).prop_map(|(matches, per_million, kind)| Fault {
        matches,
        per_million,
        kind,
    })
}

fn request_policies() -> impl Strategy<Value = RequestPolicy> {
    let timeouts = (maybe(durations()), maybe(durations()), maybe(durations())).prop_map(
        |(request, backend_request, idle)| Timeouts {
            request,
            backend_request,
            idle,
        },
    );
    let affinity = ("[a-zA-Z0-9_-]{1,8}", maybe(durations()), "/[a-z/]{0,5}")
        .prop_map(|(name, max_age, path)| CookieAffinity { name, max_age, path });
    (
        timeouts,
        maybe(retries()),
        list(rate_limits()),
        list(faults()),
        maybe(affinity),
    )
        .prop_map(|(timeouts, retry, rate_limits, faults, affinity)| RequestPolicy {
            timeouts,
            retry,
            rate_limits,
            faults,
            affinity,
        })
}

fn balancings() -> impl Strategy<Value = Balancing> {
    let keys = || {
        prop_oneof![
            header_name().prop_map(HashKey::Header),
            "[a-zA-Z0-9_-]{1,8}".prop_map(HashKey::Cookie),
            "[ -~]{1,5}".prop_map(HashKey::Query),
            Just(HashKey::SourceAddress),
        ]
    };
    prop_oneof![
        Just(Balancing::LeastRequest),
        Just(Balancing::PeakEwma),
        Just(Balancing::RoundRobin),
        Just(Balancing::Random),
        (keys(), 1..=8_388_608_u32).prop_map(|(key, min_size)| Balancing::RingHash { key, min_size }),
        (keys(), select(vec![2, 3, 251, 65_537, 5_000_011]))
            .prop_map(|(key, table_size)| Balancing::Maglev { key, table_size }),
    ]
}

fn outliers() -> impl Strategy<Value = OutlierDetection> {
    let rates = any::<(u32, u32, u32)>().prop_map(|(min_endpoints, min_requests, deviations)| SuccessRate {
        min_endpoints,
        min_requests,
        deviations_thousandths: deviations,
    });
    (
        any::<(Option<u32>, Option<u32>)>(),
        maybe(rates),
        durations(),
        durations(),
        durations(),
        0..=100_u32,
    )
        .prop_map(
            |((consecutive_5xx, consecutive_gateway), success_rate, interval, one, other, percent)| {
                OutlierDetection {
                    consecutive_5xx,
                    consecutive_gateway,
                    success_rate,
                    interval,
                    base_ejection: one.min(other),
                    max_ejection: one.max(other),
                    max_ejected_percent: percent,
                }
            },
        )
}

fn limits() -> impl Strategy<Value = Limits> {
    prop::array::uniform6(any::<Option<u32>>()).prop_map(
        |[
            max_connections,
            max_pending,
            max_requests,
            endpoint_max_connections,
            endpoint_max_requests,
            max_requests_per_connection,
        ]| {
            Limits {
                max_connections,
                max_pending,
                max_requests,
                endpoint_max_connections,
                endpoint_max_requests,
                max_requests_per_connection,
            }
        },
    )
}

fn backend_policies() -> impl Strategy<Value = BackendPolicy> {
    let budgets = (0..=100_u32, any::<u32>()).prop_map(|(percent, min_per_second)| RetryBudget {
        percent,
        min_per_second,
    });
    (
        balancings(),
        select(vec![LocalityPreference::None, LocalityPreference::Failover]),
        maybe(durations()),
        maybe(durations()),
        limits(),
        maybe(outliers()),
        prop_oneof![Just(RetryBudget::default()), budgets],
    )
        .prop_map(
            |(balancing, locality, slow_start, connect_timeout, limits, outliers, retry_budget)| {
                BackendPolicy {
                    balancing,
                    locality,
                    slow_start,
                    connect_timeout,
                    limits,
                    outliers,
                    retry_budget,
                }
            },
        )
}

/// Policies of a Service's port, the default among them.
pub(super) fn port_policies() -> impl Strategy<Value = PortPolicy> {
    prop_oneof![
        Just(PortPolicy::default()),
        (request_policies(), backend_policies())
            .prop_map(|(request, backend)| PortPolicy { request, backend }),
    ]
}

/// Localities, the unknown one among them.
pub(super) fn localities() -> impl Strategy<Value = Locality> {
    ("[a-z]{0,5}", "[a-z]{0,5}").prop_map(|(region, zone)| Locality::new(region, zone))
}

//! Routes and policies survive the wire; a refusal names the field and its place.

use std::time::Duration;

use mesh_model::{HeaderEdits, HttpMatch, PathMatch, PortPolicy, RouteGroup, ServiceRoutes};

use super::*;

proptest! {
    #[test]
    fn routes_survive_the_wire(routes in generate::routes()) {
        let decoded = decode(ResourceType::Routes, &EncodedResource::routes(&routes).to_wire()).unwrap();
        prop_assert_eq!(decoded, Change::Routes(routes));
    }

    #[test]
    fn policies_survive_the_wire(policy in generate::port_policies()) {
        let service = fixture::service_with_policy("shop/web", "10.96.0.1", 80, AppProtocol::Http1, policy);
        let decoded = decode(ResourceType::Service, &EncodedResource::service(&service).to_wire()).unwrap();
        prop_assert_eq!(decoded, Change::Service(service));
    }

    /// Bytes that are nearly right reach further than random ones.
    #[test]
    fn damaged_bytes_are_decoded_or_refused(
        routes in generate::routes(), policy in generate::port_policies(), hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let service = fixture::service_with_policy("shop/web", "10.96.0.1", 80, AppProtocol::Http1, policy);
        for encoded in [EncodedResource::routes(&routes), EncodedResource::service(&service)] {
            let mut resource = encoded.to_wire();
            let bytes = &mut resource.resource.as_mut().unwrap().value;
            for (index, byte) in &hits {
                let at = index.index(bytes.len());
                bytes[at] = *byte;
            }
            // Either is fine; what is decoded is as valid as anything else.
            if let Ok(Change::Routes(routes)) = decode(encoded.resource_type, &resource) {
                prop_assert!(decode(ResourceType::Routes, &EncodedResource::routes(&routes).to_wire()).is_ok());
            }
        }
    }
}

#[test]
fn the_default_policy_takes_no_bytes_and_is_shared() {
    let plain = fixture::service("shop/web", "10.96.0.1", &[80, 81]);
    let message = service::to_wire(&plain);
    assert!(message.ports.iter().all(|port| port.policy.is_none()));
    let decoded = service::from_wire(message).unwrap();
    assert!(std::sync::Arc::ptr_eq(
        &decoded.ports[0].policy,
        &decoded.ports[1].policy
    ));
}

#[test]
fn a_duration_beyond_a_hundred_years_is_sent_as_that() {
    let mut policy = PortPolicy::default();
    policy.request.timeouts.request = Some(Duration::MAX);
    let service = fixture::service_with_policy("shop/web", "10.96.0.1", 80, AppProtocol::Http1, policy);
    let decoded = service::from_wire(service::to_wire(&service)).unwrap();
    let timeouts = &decoded.ports[0].policy.request.timeouts;
    assert_eq!(timeouts.request, Some(check::MAX_DURATION));
}

#[test]
fn a_removal_says_whose_routes_are_gone() {
    assert_eq!(
        decode_removal(ResourceType::Routes, "shop/web").unwrap(),
        Some(Change::RoutesRemoved("shop/web".parse().unwrap()))
    );
}

/// What is said of routes at shop/web with one thing changed.
fn refusal_of(routes: &ServiceRoutes, change: impl FnOnce(&mut wire::Routes)) -> String {
    let mut message = routes::to_wire(routes);
    change(&mut message);
    routes::from_wire(message).unwrap_err().to_string()
}

fn canary() -> ServiceRoutes {
    let rule = fixture::http_rule(
        "shop/canary#0",
        vec![HttpMatch::any(), fixture::header("x-group", "b")],
        vec![
            fixture::backend("shop/v1", 80, 9),
            fixture::backend("shop/v2", 80, 1),
        ],
    );
    fixture::http_routes("shop/web", 80, vec![rule])
}

fn http_rule(message: &mut wire::Routes) -> &mut wire::HttpRule {
    match message.groups[0].rules.as_mut().unwrap() {
        wire::route_group::Rules::Http(http) => &mut http.rules[0],
        other => panic!("{other:?}"),
    }
}

#[test]
fn refusals_of_routes_name_the_field_and_its_place() {
    let refusal = |change: fn(&mut wire::Routes)| refusal_of(&canary(), change);
    let rule = |change: fn(&mut wire::HttpRule)| refusal_of(&canary(), |routes| change(http_rule(routes)));
    let expect = |text: String, field: &str| assert!(text.starts_with(&format!("field {field}: ")), "{text}");
    expect(refusal(|r| r.groups[0].port = 0), "groups[0].port");
    expect(refusal(|r| r.groups[0].rules = None), "groups[0].rules");
    expect(refusal(|r| r.groups.push(r.groups[0].clone())), "groups");
    expect(
        refusal(|r| r.groups[0].consumer = Some("A b".to_owned())),
        "groups[0].consumer.namespace, name",
    );
    let at = "groups[0].http.rules[0]";
    expect(rule(|r| r.matches.clear()), &format!("{at}.matches"));
    expect(rule(|r| r.name = None), &format!("{at}.name"));
    expect(
        rule(|r| r.name.as_mut().unwrap().route = "x".to_owned()),
        &format!("{at}.name.route"),
    );
    expect(
        rule(|r| r.matches[0].path = None),
        &format!("{at}.matches[0].path"),
    );
    expect(
        rule(|r| r.matches[0].path = Some(wire::http_match::Path::Exact("a".to_owned()))),
        &format!("{at}.matches[0].path.exact"),
    );
    expect(
        rule(|r| r.matches[0].method = "GET /".to_owned()),
        &format!("{at}.matches[0].method"),
    );
    expect(
        rule(|r| r.matches[1].headers[0].name = "X-Group".to_owned()),
        &format!("{at}.matches[1].headers[0].name"),
    );
    expect(
        rule(|r| r.matches[1].headers[0].value = None),
        &format!("{at}.matches[1].headers[0].value"),
    );
    expect(
        rule(|r| r.backends[1].target = None),
        &format!("{at}.backends[1].target"),
    );
    expect(
        rule(|r| r.filters.push(wire::Filter { filter: None })),
        &format!("{at}.filters[0].filter"),
    );
}

#[test]
fn refusals_of_filters_name_the_field() {
    use wire::filter::Filter::{Mirror, Redirect, RequestHeaders, Rewrite};
    let refusal = |kind: wire::filter::Filter| {
        refusal_of(&canary(), |routes| {
            http_rule(routes)
                .filters
                .push(wire::Filter { filter: Some(kind) });
        })
    };
    let expect = |kind, field: &str| {
        let text = refusal(kind);
        assert!(
            text.starts_with(&format!("field groups[0].http.rules[0].filters[0].{field}: ")),
            "{text}"
        );
    };
    let redirect = wire::Redirect {
        status: 302,
        ..wire::Redirect::default()
    };
    let header = |name: &str, value: &str| wire::HeaderEdits {
        set: vec![wire::Header {
            name: name.to_owned(),
            value: value.to_owned(),
        }],
        ..wire::HeaderEdits::default()
    };
    expect(
        Redirect(wire::Redirect {
            status: 304,
            ..redirect.clone()
        }),
        "redirect.status",
    );
    expect(
        Redirect(wire::Redirect {
            scheme: "ftp".to_owned(),
            ..redirect.clone()
        }),
        "redirect.scheme",
    );
    expect(
        Redirect(wire::Redirect {
            port: 65536,
            ..redirect.clone()
        }),
        "redirect.port",
    );
    expect(
        Rewrite(wire::Rewrite {
            hostname: "a/b".to_owned(),
            path: None,
        }),
        "rewrite.hostname",
    );
    expect(
        Redirect(wire::Redirect {
            path: Some(wire::PathEdit::default()),
            ..redirect
        }),
        "redirect.path",
    );
    expect(
        RequestHeaders(header("X-Upper", "")),
        "request_headers.set[0].name",
    );
    expect(
        RequestHeaders(header("x-injected", "a\r\nb: c")),
        "request_headers.set[0].value",
    );
    expect(
        Mirror(wire::Mirror {
            target: Some(filter::target_to_wire(&fixture::backend("shop/v2", 80, 1).target)),
            numerator: 1,
            denominator: 0,
        }),
        "mirror.denominator",
    );
}

/// What is said of a policy at shop/web's port 80 with one thing changed.
fn refusal_of_policy(change: impl FnOnce(&mut wire::RequestPolicy, &mut wire::BackendPolicy)) -> String {
    let mut message = service::to_wire(&fixture::service("shop/web", "10.96.0.1", &[80]));
    let mut policy = PortPolicy::default();
    policy.request.retry = Some(fixture::retry(2, &[503]));
    policy.backend.outliers = Some(fixture::outliers(5));
    let mut policy = policy::port_to_wire(&policy).unwrap();
    change(policy.request.as_mut().unwrap(), policy.backend.as_mut().unwrap());
    message.ports[0].policy = Some(policy);
    service::from_wire(message).unwrap_err().to_string()
}

#[test]
fn refusals_of_policies_name_the_field() {
    let request = |field: &str, change: fn(&mut wire::RequestPolicy)| {
        let text = refusal_of_policy(|policy, _| change(policy));
        assert!(
            text.starts_with(&format!("field ports[0].policy.request.{field}: ")),
            "{text}"
        );
    };
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    for wrong in [0, -1, i64::MAX] {
        let text = refusal_of_policy(|policy, _| policy.request_timeout = seconds(wrong));
        assert!(
            text.starts_with("field ports[0].policy.request.request_timeout: "),
            "{text}"
        );
    }
    request("retry.backoff", |p| p.retry.as_mut().unwrap().backoff = None);
    request("retry.max_backoff", |p| {
        p.retry.as_mut().unwrap().max_backoff = Some(prost_types::Duration { seconds: 0, nanos: 1 });
    });
    request("retry.statuses[1].status", |p| {
        p.retry.as_mut().unwrap().statuses.push(600);
    });
    request("retry.on", |p| p.retry.as_mut().unwrap().on.push(9));
    request("rate_limits[0].key", |p| {
        p.rate_limits.push(wire::RateLimit::default());
    });
    request("faults[0].kind", |p| p.faults.push(wire::Fault::default()));
    request("faults[0].per_million", |p| {
        p.faults.push(wire::Fault {
            per_million: 1_000_001,
            kind: Some(wire::fault::Kind::Abort(500)),
            ..wire::Fault::default()
        });
    });
    request("faults[0].abort", |p| {
        p.faults.push(wire::Fault {
            kind: Some(wire::fault::Kind::Abort(101)),
            ..wire::Fault::default()
        });
    });
    request("affinity.name", |p| {
        p.affinity = Some(wire::CookieAffinity::default());
    });
    let backend = |field: &str, change: fn(&mut wire::BackendPolicy)| {
        let text = refusal_of_policy(|_, policy| change(policy));
        assert!(
            text.starts_with(&format!("field ports[0].policy.backend.{field}: ")),
            "{text}"
        );
    };
    backend("locality", |p| p.locality = 9);
    backend("balancing.algorithm", |p| {
        p.balancing = Some(wire::Balancing::default());
    });
    backend("balancing.maglev.table_size", |p| {
        p.balancing = Some(wire::Balancing {
            algorithm: Some(wire::balancing::Algorithm::Maglev(wire::Maglev {
                key: None,
                table_size: 65_536,
            })),
        });
    });
    backend("outliers.interval", |p| {
        p.outliers.as_mut().unwrap().interval = None;
    });
    backend("outliers.max_ejected_percent", |p| {
        p.outliers.as_mut().unwrap().max_ejected_percent = 101;
    });
    backend("retry_budget.percent", |p| {
        p.retry_budget = Some(wire::RetryBudget {
            percent: 101,
            min_per_second: 0,
        });
    });
}

/// `--nocapture` shows the figures.
#[test]
fn ten_thousand_routes_are_encoded_and_decoded_within_seconds() {
    let services: Vec<ServiceRoutes> = (0..1_000)
        .map(|service| {
            let rules = (0..10).map(|rule| {
                let mut rule = fixture::http_rule(
                    &format!("shop/route-{service}#{rule}"),
                    vec![
                        fixture::header("x-group", "b"),
                        HttpMatch {
                            path: PathMatch::Regex(format!("/v[0-9]+/items/{rule}")),
                            ..HttpMatch::any()
                        },
                    ],
                    vec![
                        fixture::backend(&format!("shop/stable-{service}"), 80, 90),
                        fixture::backend(&format!("shop/canary-{service}"), 80, 10),
                    ],
                );
                rule.policy.retry = Some(fixture::retry(2, &[502, 503]));
                rule.filters.push(mesh_model::Filter::RequestHeaders(HeaderEdits {
                    set: vec![("x-route".to_owned(), "canary".to_owned())],
                    ..HeaderEdits::default()
                }));
                rule
            });
            let routes = fixture::http_routes(&format!("shop/web-{service}"), 80, rules.collect());
            ServiceRoutes {
                groups: routes
                    .groups
                    .into_iter()
                    .map(|group| RouteGroup {
                        consumer: Some("shop".to_owned()),
                        ..group
                    })
                    .collect(),
                ..routes
            }
        })
        .collect();
    let start = std::time::Instant::now();
    let encoded: Vec<EncodedResource> = services.iter().map(EncodedResource::routes).collect();
    let encoding = start.elapsed();
    let bytes: usize = encoded.iter().map(EncodedResource::len).sum();
    let start = std::time::Instant::now();
    for (encoded, routes) in encoded.iter().zip(&services) {
        assert_eq!(
            decode(ResourceType::Routes, &encoded.to_wire()).unwrap(),
            Change::Routes(routes.clone())
        );
    }
    println!(
        "10,000 rules: {bytes} bytes, encoded in {encoding:?}, decoded and compared in {:?}",
        start.elapsed()
    );
    assert!(bytes < 10_000 * 1024, "{bytes} bytes");
    assert!(start.elapsed() < Duration::from_secs(10));
}

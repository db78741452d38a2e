//! What stands behind a Service.

use super::*;

#[test]
fn a_selector_finds_endpoints_by_number_and_by_name() {
    let web = Workload {
        ports: vec![WorkloadPort {
            name: "http".to_owned(),
            port: 8080,
        }],
        addresses: vec!["10.1.0.2".parse().unwrap(), "fd00:1::2".parse().unwrap()],
        ..workload("shop/web-1", "10.1.0.2")
    };
    let elsewhere = workload("other/web-1", "10.1.0.9");
    let not_ready = Workload {
        is_ready: false,
        ..workload("shop/web-2", "10.1.0.3")
    };
    let named = (80, TargetPort::Name("http".to_owned()));
    let mut given = Given::default()
        .workload(web)
        .workload(elsewhere)
        .workload(not_ready)
        .service(service(
            "shop/web",
            "10.96.0.1",
            &[named, (81, TargetPort::Number(9090)), same(82)],
        ));
    given.0.services[0].value.ports[0].name = "p0".to_owned();
    let all = vec![(80, 8080), (81, 9090), (82, 82)];
    assert_eq!(
        given.endpoints("shop/web"),
        [
            (
                "10.1.0.2".to_owned(),
                all.clone(),
                Some("shop/web-1".to_owned()),
                true
            ),
            // It has no port named http.
            (
                "10.1.0.3".to_owned(),
                vec![(81, 9090), (82, 82)],
                Some("shop/web-2".to_owned()),
                false
            ),
            ("fd00:1::2".to_owned(), all, Some("shop/web-1".to_owned()), true),
        ]
    );
    assert_eq!(
        given.problems(),
        ["warning: Service shop/web: spec.ports[0].targetPort: Workload shop/web-2 has no port named 'http'"]
    );
    given.0.services[0].value.is_publishing_not_ready = true;
    assert!(given.endpoints("shop/web").iter().all(|(.., is_ready)| *is_ready));
}

#[test]
fn slices_add_endpoints_and_merge_by_address() {
    let mut headless = service("shop/db", "10.96.0.2", &[same(5432)]);
    headless.selector.clear();
    headless.addresses.clear();
    let mut second = slice("shop/db", Some(5433), &[(&["10.2.0.2", "10.2.0.3"], true)]);
    second.name = name("shop/second");
    let given = Given::default()
        .workload(workload("shop/db-1", "10.2.0.1"))
        .service(headless)
        .slice(slice(
            "shop/db",
            None,
            &[
                (&["fd00:2::1"], true),
                (&["10.2.0.1"], true),
                (&["10.2.0.2"], false),
            ],
        ));
    let mut merged = Given(given.0.clone()).slice(second);
    assert_eq!(
        given.endpoints("shop/db"),
        [
            (
                "10.2.0.1".to_owned(),
                vec![(5432, 5432)],
                Some("shop/db-1".to_owned()),
                true
            ),
            ("10.2.0.2".to_owned(), vec![(5432, 5432)], None, false),
            ("fd00:2::1".to_owned(), vec![(5432, 5432)], None, true),
        ]
    );
    assert_eq!(
        merged.problems(),
        [
            "error: EndpointSlice shop/second: endpoints[0]: port 5432 of Service shop/db goes to both 5432 and 5433 at \
              10.2.0.2"
        ]
    );
    merged.0.slices[1].value.ports[0].port = Some(5432);
    let ready = merged
        .endpoints("shop/db")
        .into_iter()
        .find(|(address, ..)| address == "10.2.0.2")
        .unwrap();
    assert!(ready.3, "ready in one of its slices");
}

#[test]
fn a_slice_of_nobody_and_a_service_without_endpoints_are_warned_of() {
    let mut orphan = slice("shop/db", None, &[(&["10.2.0.1"], true)]);
    orphan.service = None;
    let mut stray = slice("shop/gone", None, &[(&["10.2.0.2"], true)]);
    stray.name = name("shop/stray");
    let mut without_selector = service("shop/none", "10.96.0.3", &[same(80)]);
    without_selector.selector.clear();
    let given = Given::default()
        .service(service("shop/web", "10.96.0.1", &[same(80)]))
        .service(without_selector)
        .slice(orphan)
        .slice(stray);
    assert_eq!(
        given.problems(),
        [
            "warning: EndpointSlice shop/db-slice: metadata.labels[kubernetes.io/service-name]: the slice belongs to no \
              Service",
            "warning: EndpointSlice shop/stray: metadata.labels[kubernetes.io/service-name]: there is no Service shop/gone",
            "warning: Service shop/web: spec.selector: the Service has no endpoints: app=web matches no Workload of \
              namespace shop",
            "warning: Service shop/none: spec.selector: the Service has no endpoints: it has no selector, and no \
              EndpointSlice belongs to it",
        ]
    );
    assert_eq!(given.endpoints("shop/web"), [], "an empty set, not an absent one");
}

#[test]
fn host_workloads_serve_the_ports_that_they_list() {
    let service_of = |target: u16| service("shop/web", "10.96.0.1", &[(80, TargetPort::Number(target))]);
    let hosts = Given::default()
        .workload(host_workload("shop/one", "10.0.0.1", &[("", 81)]))
        .workload(host_workload("shop/two", "10.0.0.2", &[("", 81)]));
    let good = Given(hosts.0.clone()).service(service_of(81));
    assert_eq!(good.endpoints("shop/web").len(), 2);
    let wrong = hosts.service(service_of(99));
    assert_eq!(
        wrong.problems()[0],
        "warning: Service shop/web: spec.ports[0].targetPort: Workload shop/one is on its node's network and lists no \
         port 99"
    );
    // By address alone one could not tell which of the two a connection is for.
    let two = Given::default()
        .workload(host_workload("shop/one", "10.0.0.1", &[("http", 81)]))
        .workload(host_workload("shop/two", "10.0.0.1", &[("http", 82)]))
        .service(service(
            "shop/web",
            "10.96.0.1",
            &[(80, TargetPort::Name("http".to_owned()))],
        ));
    assert!(
        two.problems()[0].contains("10.0.0.1 is an endpoint of Service shop/web as workload shop/one and as")
    );
}

#[test]
fn endpoints_have_the_weight_and_place_of_their_workload_or_slice() {
    let at = |region: &str, zone: &str| Locality::new(region, zone);
    let placed = |text: &str, address: &str, weight: u32| Workload {
        weight,
        locality: at("north", "a"),
        ..workload(text, address)
    };
    let mut in_slice = slice(
        "shop/db",
        None,
        &[
            (&["10.2.0.1"], true),
            (&["10.2.0.2"], true),
            (&["10.2.0.3"], true),
            (&["10.2.0.4"], true),
        ],
    );
    for (endpoint, zone) in in_slice
        .endpoints
        .iter_mut()
        .zip([None, Some("a"), Some("b"), Some("c")])
    {
        endpoint.zone = zone.map(str::to_owned);
    }
    let db = Service {
        selector: labels(&[]),
        ..service("shop/db", "10.96.0.2", &[same(5432)])
    };
    let resources = Given::default()
        .workload(placed("shop/db-1", "10.2.0.1", 3))
        .workload(placed("shop/db-2", "10.2.0.2", 0))
        .workload(placed("shop/db-3", "10.2.0.3", 1))
        .service(service("shop/web", "10.96.0.1", &[same(80)]))
        .service(db)
        .slice(in_slice)
        .resources();
    let places = |service: &str| {
        let endpoints = &resources.endpoints[&name(service)].endpoints;
        let places = endpoints.iter();
        places
            .map(|endpoint| (endpoint.weight, endpoint.locality.clone()))
            .collect::<Vec<_>>()
    };
    let north = at("north", "a");
    assert_eq!(
        places("shop/web"),
        [(3, north.clone()), (0, north.clone()), (1, north.clone())]
    );
    assert_eq!(
        places("shop/db"),
        [
            (3, north.clone()),
            (0, north.clone()),
            // The slice knows better; nothing says which region that is.
            (1, at("", "b")),
            (1, at("", "c")),
        ]
    );
    assert_eq!(resources.workloads[&name("shop/db-1")].locality, north);
}

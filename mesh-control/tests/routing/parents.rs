//! Parents: which Services and ports a route is for, and for whose clients.

use mesh_control::world::Reason;

use crate::mesh::{Given, mesh, routes};

fn with_parent(kind: &'static str, parent: &'static str) -> crate::mesh::Mesh {
    routes(&[Given {
        kind,
        parent,
        ..Given::default()
    }])
}

#[test]
fn a_route_is_for_all_ports_that_can_carry_it() {
    let mesh = with_parent("HTTPRoute", "{ group: '', kind: Service, name: web }");
    assert_eq!(
        mesh.groups("shop/web"),
        ["80 http: shop/r#0", "8080 http: shop/r#0"],
        "port 5432 is declared as something else"
    );
    assert_eq!(
        mesh.accepted("shop/r"),
        (Reason::Accepted, "at ports 80, 8080 of Service shop/web")
    );
    let status = &mesh.status("shop/r").parents[0];
    assert_eq!(
        (status.ports.as_slice(), &status.consumer),
        ([80, 8080].as_slice(), &None)
    );
    assert_eq!(mesh.warnings(), Vec::<String>::new());
}

#[test]
fn a_route_may_be_for_one_port_by_number_or_name() {
    for parent in [
        "{ group: '', kind: Service, name: web, port: 8080 }",
        "{ group: '', kind: Service, name: web, sectionName: alt }",
        "{ group: '', kind: Service, name: web, sectionName: alt, port: 8080 }",
    ] {
        let mesh = with_parent("HTTPRoute", parent);
        assert_eq!(mesh.groups("shop/web"), ["8080 http: shop/r#0"], "{parent}");
    }
    let both = with_parent(
        "HTTPRoute",
        "{ group: '', kind: Service, name: web, port: 80 }, { group: '', kind: Service, name: web, port: 8080 }",
    );
    assert_eq!(
        both.groups("shop/web"),
        ["80 http: shop/r#0", "8080 http: shop/r#0"]
    );
    assert_eq!(both.status("shop/r").parents.len(), 2);
}

#[test]
fn a_parent_that_is_not_there_leaves_the_route_without_effect() {
    for (kind, parent, words) in [
        (
            "HTTPRoute",
            "group: '', name: gone",
            "there is no Service shop/gone",
        ),
        (
            "HTTPRoute",
            "group: '', name: web, namespace: far",
            "there is no Service far/web",
        ),
        (
            "HTTPRoute",
            "group: '', name: Web",
            "there is no Service shop/Web",
        ),
        (
            "HTTPRoute",
            "name: web",
            "there is no Service in the group 'gateway.networking.k8s.io'; write group: ''",
        ),
        (
            "HTTPRoute",
            "group: '', name: headless",
            "Service shop/headless is headless",
        ),
        (
            "HTTPRoute",
            "group: '', name: web, port: 81",
            "Service shop/web has no port 81",
        ),
        (
            "HTTPRoute",
            "group: '', name: web, sectionName: x",
            "Service shop/web has no port named 'x'",
        ),
        (
            "HTTPRoute",
            "group: '', name: web, sectionName: alt, port: 80",
            "Service shop/web has no port 80 named 'alt'",
        ),
        (
            "HTTPRoute",
            "group: '', name: web, port: 5432",
            "no port of Service shop/web carries what HTTPRoutes are about: port 5432 is declared as bytes (TCP)",
        ),
        (
            "GRPCRoute",
            "group: '', name: web, port: 80",
            "port 80 is declared as HTTP/1.1",
        ),
        (
            "TLSRoute",
            "group: '', name: calls, port: 80",
            "port 80 is declared as HTTP/1.1",
        ),
    ] {
        let hostnames = if kind == "TLSRoute" {
            "hostnames: [ a.b ],"
        } else {
            ""
        };
        let given = Given {
            kind,
            ..Given::default()
        };
        let manifest = given
            .manifest_with(hostnames, given.rules)
            .replace(given.parent, &format!("{{ kind: Service, {parent} }}"));
        let mesh = mesh(&manifest);
        let (reason, message) = mesh.accepted("shop/r");
        assert!(
            reason == Reason::NoMatchingParent && message.contains(words),
            "{parent}: {message}"
        );
        assert!(mesh.joined.resources.routes.is_empty(), "{parent}");
        assert_eq!(mesh.warnings(), [format!("spec.parentRefs[0]: {message}")]);
    }
}

#[test]
fn each_parent_is_judged_by_itself() {
    let mesh = with_parent(
        "HTTPRoute",
        "{ group: '', kind: Service, name: gone }, { kind: Gateway, name: edge }, { group: '', kind: Service, name: v2 }",
    );
    let parents: Vec<_> = mesh
        .status("shop/r")
        .parents
        .iter()
        .map(|parent| (parent.service.as_str(), parent.conditions[0].reason))
        .collect();
    assert_eq!(
        parents,
        [
            ("shop/gone", Reason::NoMatchingParent),
            ("shop/v2", Reason::Accepted)
        ],
        "nothing is said of the Gateway, which is another controller's"
    );
    assert_eq!(mesh.groups("shop/v2"), ["80 http: shop/r#0"]);
}

#[test]
fn routes_of_connections_have_parents_too() {
    let mesh = with_parent("TCPRoute", "{ group: '', kind: Service, name: web, port: 5432 }");
    assert_eq!(mesh.groups("shop/web"), ["5432 tcp: shop/r#0"]);
    let given = Given {
        kind: "TLSRoute",
        parent: "{ group: '', kind: Service, name: calls }",
        ..Given::default()
    };
    let mesh = crate::mesh::mesh(&given.manifest_with("hostnames: [ a.b ],", given.rules));
    assert_eq!(
        mesh.groups("shop/calls"),
        ["443 tls: shop/r#0", "7070 tls: shop/r#0"],
        "not at the port for HTTP"
    );
    assert_eq!(mesh.status("shop/r").hostnames, ["a.b"]);
}

#[test]
fn a_route_of_another_namespace_is_for_clients_there() {
    let consumer = Given {
        name: "far/mine",
        parent: "{ group: '', kind: Service, name: web, namespace: shop, port: 80 }",
        ..Given::default()
    };
    let only = routes(&[Given { ..consumer }]);
    assert_eq!(only.groups("shop/web"), ["80<far http: far/mine#0"]);
    assert_eq!(
        only.accepted("far/mine"),
        (
            Reason::Accepted,
            "at port 80 of Service shop/web, for clients in namespace far"
        )
    );
    let routes = &only.joined.resources.routes[&"shop/web".parse().unwrap()];
    assert!(
        routes.group(80, "shop").is_none(),
        "others go straight to the Service"
    );
    let both = crate::mesh::routes(&[consumer, Given::default()]);
    assert_eq!(
        both.groups("shop/web"),
        [
            "80 http: shop/r#0",
            "80<far http: far/mine#0",
            "8080 http: shop/r#0"
        ],
        "they do not mix"
    );
    let routes = &both.joined.resources.routes[&"shop/web".parse().unwrap()];
    let group = |namespace: &str| routes.group(80, namespace).unwrap().consumer.clone();
    assert_eq!((group("far"), group("shop")), (Some("far".to_owned()), None));
}

#[test]
fn what_cannot_be_done_leaves_the_whole_route_without_effect() {
    let rules = "{ backendRefs: [ { name: v1, port: 80 } ] }, \
                 { filters: [ { type: ExtensionRef, extensionRef: { group: a.b, kind: C, name: d } } ] }, \
                 { filters: [ { type: Teapot } ] }";
    let other = Given {
        name: "shop/other",
        ..Given::default()
    };
    let given = Given::default();
    let mesh = mesh(&(given.manifest_with("", rules) + &other.manifest()));
    let (reason, message) = mesh.accepted("shop/r");
    assert_eq!(reason, Reason::UnsupportedValue);
    assert_eq!(
        message,
        "spec.rules[1].filters[0].extensionRef: there are no extensions here; \
         spec.rules[2].filters[0].type: 'Teapot' is no filter of HTTPRoute that is known here"
    );
    assert_eq!(
        mesh.groups("shop/web"),
        ["80 http: shop/other#0", "8080 http: shop/other#0"],
        "no rule of it, and all of the other route"
    );
    assert_eq!(mesh.warnings().len(), 2, "each field once");
    let filters = crate::mesh::http(
        "{ filters: [ { type: RequestRedirect, requestRedirect: { } } ], backendRefs: [ { name: v1, port: 80 } ] }",
    );
    assert_eq!(filters.accepted("shop/r").0, Reason::IncompatibleFilters);
    assert_eq!(filters.groups("shop/web"), Vec::<String>::new());
}

#[test]
fn conditions_name_the_generation_that_was_judged() {
    let mesh = routes(&[Given::default()]);
    let status = mesh.status("shop/r");
    assert_eq!(status.generation, Some(4));
    let kinds: Vec<&str> = status.parents[0]
        .conditions
        .iter()
        .map(|condition| condition.kind.label())
        .collect();
    assert_eq!(kinds, ["Accepted", "ResolvedRefs"]);
}

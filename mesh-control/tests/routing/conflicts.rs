//! Several routes at one port: of one kind they merge, of several kinds one wins.

use mesh_control::world::Reason;

use crate::mesh::{Given, mesh, routes};

const CALLS: &str = "{ group: '', kind: Service, name: calls, port: 7070 }";

/// A route of each kind for port 7070 of `calls`, by kind.
fn of_kind(kind: &'static str, name: &'static str) -> String {
    let given = Given {
        kind,
        name,
        parent: CALLS,
        ..Given::default()
    };
    let hostnames = if kind == "TLSRoute" {
        "hostnames: [ a.b ],"
    } else {
        ""
    };
    given.manifest_with(hostnames, given.rules)
}

#[test]
fn of_several_kinds_one_wins() {
    let kinds = [
        ("GRPCRoute", "shop/g", "grpc"),
        ("HTTPRoute", "shop/h", "http"),
        ("TLSRoute", "shop/t", "tls"),
        ("TCPRoute", "shop/b", "tcp"),
    ];
    for (index, (winner, winner_name, word)) in kinds.iter().enumerate() {
        for (loser, loser_name, _) in &kinds[index + 1..] {
            // The loser is read first.
            let mesh = mesh(&(of_kind(loser, loser_name) + &of_kind(winner, winner_name)));
            assert_eq!(
                mesh.groups("shop/calls"),
                [format!("7070 {word}: {winner_name}#0")]
            );
            assert_eq!(mesh.accepted(winner_name).0, Reason::Accepted);
            let (reason, message) = mesh.accepted(loser_name);
            assert_eq!(reason, Reason::Conflicted);
            let words = format!("{winner} {winner_name} is in force at port 7070 of Service shop/calls");
            assert!(message.starts_with(&words), "{message}");
            assert_eq!(mesh.warnings(), [format!("spec.parentRefs[0]: {message}")]);
            assert_eq!(mesh.status(loser_name).parents[0].ports, Vec::<u16>::new());
        }
    }
}

#[test]
fn a_loser_keeps_the_ports_that_the_winner_does_not_have() {
    let everywhere = Given {
        kind: "TCPRoute",
        name: "shop/bytes",
        ..Given::default()
    };
    let one = Given {
        parent: "{ group: '', kind: Service, name: web, port: 8080 }",
        ..Given::default()
    };
    let mesh = routes(&[everywhere, one]);
    assert_eq!(
        mesh.groups("shop/web"),
        [
            "80 tcp: shop/bytes#0",
            "5432 tcp: shop/bytes#0",
            "8080 http: shop/r#0"
        ]
    );
    let (reason, message) = mesh.accepted("shop/bytes");
    assert_eq!(reason, Reason::Accepted);
    assert_eq!(
        message,
        "at ports 80, 5432 of Service shop/web; without effect at port 8080: HTTPRoute shop/r is there, and goes before \
         a route of this kind"
    );
    assert_eq!(
        mesh.warnings(),
        [
            "spec.parentRefs[0]: the route has no effect at port 8080 of Service shop/web: HTTPRoute shop/r is there, and \
             goes before a route of this kind"
        ]
    );
}

#[test]
fn kinds_conflict_only_among_routes_for_the_same_clients() {
    let consumer = Given {
        name: "far/mine",
        parent: "{ group: '', kind: Service, name: calls, namespace: shop, port: 7070 }",
        ..Given::default()
    };
    let mesh = mesh(&(consumer.manifest() + &of_kind("GRPCRoute", "shop/g")));
    assert_eq!(
        mesh.groups("shop/calls"),
        ["7070 grpc: shop/g#0", "7070<far http: far/mine#0"]
    );
    assert_eq!(mesh.accepted("far/mine").0, Reason::Accepted);
}

#[test]
fn a_route_that_is_refused_takes_no_port_from_others() {
    let refused = of_kind("GRPCRoute", "shop/g")
        .replace("{ backendRefs", "{ filters: [ { type: Teapot } ], backendRefs");
    let mesh = mesh(&(refused + &of_kind("HTTPRoute", "shop/h")));
    assert_eq!(mesh.groups("shop/calls"), ["7070 http: shop/h#0"]);
    assert_eq!(mesh.accepted("shop/h").0, Reason::Accepted);
}

#[test]
fn routes_merge_by_age_then_name_then_rule() {
    let two = "{ name: one }, { }";
    let given = |name: &'static str, created: Option<u32>| Given {
        name,
        created,
        parent: "{ group: '', kind: Service, name: web, port: 80 }",
        rules: two,
        ..Given::default()
    };
    let mesh = routes(&[
        given("shop/a-without", None),
        given("shop/z-old", Some(1)),
        given("shop/b-young", Some(2)),
        given("shop/a-young", Some(2)),
        given("shop/without", None),
    ]);
    assert_eq!(
        mesh.groups("shop/web"),
        [
            "80 http: shop/z-old#one shop/z-old#1 shop/a-young#one shop/a-young#1 shop/b-young#one shop/b-young#1 \
          shop/a-without#one shop/a-without#1 shop/without#one shop/without#1"
        ],
        "who does not say its age goes last"
    );
    assert_eq!(mesh.warnings(), Vec::<String>::new());
}

#[test]
fn of_several_tcp_routes_the_oldest_is_used_and_all_are_accepted() {
    let given = |name: &'static str, created: u32| Given {
        kind: "TCPRoute",
        name,
        created: Some(created),
        parent: "{ group: '', kind: Service, name: web, port: 5432 }",
        ..Given::default()
    };
    let mesh = routes(&[given("shop/a", 2), given("shop/b", 1)]);
    assert_eq!(
        mesh.groups("shop/web"),
        ["5432 tcp: shop/b#0 shop/a#0"],
        "nodes use the first"
    );
    assert_eq!(
        mesh.accepted("shop/b"),
        (Reason::Accepted, "at port 5432 of Service shop/web")
    );
    assert_eq!(
        mesh.accepted("shop/a"),
        (
            Reason::Accepted,
            "at port 5432 of Service shop/web; without effect at port 5432: TCPRoute shop/b is older, and takes all \
             connections"
        )
    );
    assert_eq!(mesh.warnings().len(), 1);
}

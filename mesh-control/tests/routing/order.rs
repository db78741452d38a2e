//! Whatever the order of the inputs, the result is the same.

use mesh_control::world::{Inputs, Joined, Problem};
use proptest::prelude::*;

use crate::mesh::{Given, join, read};

/// Routes of all kinds with conflicts, ties of age, consumers, refusals and references that lead nowhere, and policies
/// that collide.
pub(crate) fn manifests() -> String {
    let mut text = String::new();
    let parents = [
        "{ group: '', kind: Service, name: web, namespace: shop }",
        "{ group: '', kind: Service, name: calls, namespace: shop }",
        "{ group: '', kind: Service, name: web, namespace: shop, port: 8080 }, { group: '', kind: Service, name: gone }",
    ];
    let names = ["shop/a", "shop/b", "far/a", "far/c"];
    for kind in ["HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute"] {
        for (index, name) in names.into_iter().enumerate() {
            let given = Given {
                kind,
                name,
                created: [None, Some(1), Some(1), Some(2)][(index + kind.len()) % 4],
                parent: parents[(index * 7 + usize::from(kind.as_bytes()[0])) % 3],
                ..Given::default()
            };
            let hostnames = if kind == "TLSRoute" {
                "hostnames: [ a.b ],"
            } else {
                ""
            };
            let rules = match index {
                0 => "{ name: one, backendRefs: [ { name: v1, port: 80 } ] }",
                1 => "{ backendRefs: [ { name: gone, port: 80 }, { name: web, port: 5432 } ] }",
                _ => given.rules,
            };
            text += &given.manifest_with(hostnames, rules);
        }
    }
    let policies = [
        ("p", "01", "{ kind: Service, name: web }"),
        ("q", "01", "{ kind: Service, name: web }"),
        (
            "r",
            "02",
            "{ kind: HTTPRoute, name: a }, { kind: Service, name: web, sectionName: alt }",
        ),
        (
            "s",
            "02",
            "{ kind: HTTPRoute, name: a, sectionName: one }, { kind: TCPRoute, name: a }",
        ),
    ]
    .map(|(name, day, target)| {
        format!(
            "---\napiVersion: nodemesh.io/v1alpha1\nkind: TrafficPolicy\n\
             metadata: {{ name: {name}, namespace: shop, creationTimestamp: '2026-01-{day}T00:00:00Z' }}\n\
             spec: {{ targetRefs: [ {target} ], timeouts: {{ request: {}s }} }}\n",
            name.as_bytes()[0]
        )
    });
    text + &policies.concat()
}

/// The problems by their text: they are told in the order of the files.
fn problems(joined: &Joined) -> Vec<String> {
    let mut texts: Vec<String> = joined.problems.iter().map(Problem::to_string).collect();
    texts.sort();
    texts
}

fn shuffled() -> impl Strategy<Value = (Inputs, Inputs)> {
    let inputs = read(&manifests());
    let (routes, policies) = (inputs.routes.clone(), inputs.policies.clone());
    let orders = (
        Just(routes).prop_shuffle(),
        Just(policies).prop_shuffle(),
        Just(inputs.services.clone()).prop_shuffle(),
        proptest::collection::vec(any::<bool>(), 20),
    );
    orders.prop_map(move |(routes, policies, services, kept)| {
        // Some are left out, the same ones in both orders.
        let dropped: Vec<_> = inputs
            .routes
            .iter()
            .zip(&kept)
            .filter(|(_, is_kept)| !**is_kept)
            .map(|(route, _)| &route.origin)
            .collect();
        let keep = |mut inputs: Inputs| {
            inputs.routes.retain(|route| !dropped.contains(&&route.origin));
            inputs
        };
        let other = Inputs {
            routes,
            policies,
            services,
            ..inputs.clone()
        };
        (keep(inputs.clone()), keep(other))
    })
}

proptest! {
    #[test]
    fn the_order_of_the_inputs_does_not_matter((one, other) in shuffled()) {
        let (one, other) = (join(&one), join(&other));
        prop_assert_eq!(&one.resources, &other.resources);
        prop_assert_eq!(&one.statuses, &other.statuses);
        prop_assert_eq!(problems(&one), problems(&other));
    }
}

#[test]
fn the_inputs_are_worth_shuffling() {
    let joined = join(&read(&manifests()));
    let reasons: std::collections::BTreeSet<&str> = joined
        .statuses
        .routes
        .iter()
        .flat_map(|route| &route.parents)
        .flat_map(|parent| &parent.conditions)
        .map(|condition| condition.reason.label())
        .collect();
    for reason in ["Accepted", "Conflicted", "NoMatchingParent", "BackendNotFound"] {
        assert!(reasons.contains(reason), "{reasons:?}");
    }
    let groups: usize = joined
        .resources
        .routes
        .values()
        .map(|routes| routes.groups.len())
        .sum();
    assert!(groups > 4, "{groups}");
}

//! Backends: shares, references that lead nowhere, and that they break nothing else.

use mesh_control::world::Reason;
use mesh_model::{BackendTarget, Filter};

use crate::mesh::{Given, Mesh, http, mesh, targets};

fn with_backends(backends: &str) -> Mesh {
    http(&format!("{{ backendRefs: [ {backends} ] }}"))
}

#[test]
fn weights_are_one_unless_they_are_said() {
    let mesh = with_backends(
        "{ name: v1, port: 80 }, { name: v2, port: 80, weight: 70 }, { name: v1, port: 80, weight: 0 }",
    );
    assert_eq!(
        targets(&mesh.rule().backends),
        ["1*shop/v1:80", "70*shop/v2:80", "0*shop/v1:80"]
    );
    assert_eq!(
        mesh.resolved("shop/r"),
        (Reason::ResolvedRefs, "all references lead somewhere")
    );
}

#[test]
fn a_backend_may_be_in_any_namespace_and_headless() {
    let mesh = with_backends("{ name: api, namespace: far, port: 80 }, { name: headless, port: 80 }");
    assert_eq!(
        targets(&mesh.rule().backends),
        ["1*far/api:80", "1*shop/headless:80"],
        "no grant is asked for"
    );
    assert_eq!(mesh.resolved("shop/r").0, Reason::ResolvedRefs);
}

#[test]
fn a_reference_that_leads_nowhere_takes_only_its_share() {
    for (backend, reason, words) in [
        (
            "name: gone, port: 80",
            Reason::BackendNotFound,
            "there is no Service shop/gone",
        ),
        (
            "name: api, port: 80",
            Reason::BackendNotFound,
            "there is no Service shop/api",
        ),
        (
            "name: v1, port: 81",
            Reason::BackendNotFound,
            "Service shop/v1 has no port 81",
        ),
        (
            "name: b, group: example.com, kind: Bucket",
            Reason::InvalidKind,
            "'Bucket' of group 'example.com' is no kind of backend",
        ),
        (
            "name: v1, kind: ConfigMap",
            Reason::InvalidKind,
            "'ConfigMap' of group '' is no kind of backend",
        ),
        (
            "name: web, port: 5432",
            Reason::UnsupportedProtocol,
            "port 5432 of Service shop/web is declared as bytes (TCP), which no HTTPRoute can be sent to",
        ),
    ] {
        let mesh = with_backends(&format!(
            "{{ {backend}, weight: 3 }}, {{ name: v2, port: 80, weight: 1 }}"
        ));
        assert_eq!(mesh.accepted("shop/r").0, Reason::Accepted, "the rule works");
        assert_eq!(
            targets(&mesh.rule().backends),
            [format!("3*!{words}"), "1*shop/v2:80".to_owned()]
        );
        let field = "spec.rules[0].backendRefs[0]";
        assert_eq!(
            mesh.resolved("shop/r"),
            (reason, format!("{field}: {words}").as_str())
        );
        assert_eq!(mesh.warnings(), [format!("{field}: {words}")]);
        let shown = &mesh.status("shop/r").rules[0].backends;
        assert_eq!((shown[0].error.as_deref(), shown[0].weight), (Some(words), 3));
        assert_eq!((shown[1].target.as_str(), &shown[1].error), ("shop/v2:80", &None));
    }
}

#[test]
fn a_reference_without_a_share_breaks_nothing() {
    let mesh = with_backends(
        "{ name: v1, port: 80, weight: 70 }, { name: v2, port: 80, weight: 30 }, { name: v3, port: 80, weight: 0 }",
    );
    assert_eq!(
        targets(&mesh.rule().backends),
        ["70*shop/v1:80", "30*shop/v2:80", "0*!there is no Service shop/v3"]
    );
    assert_eq!(
        mesh.resolved("shop/r").0,
        Reason::BackendNotFound,
        "and is told all the same"
    );
}

#[test]
fn all_references_that_lead_nowhere_are_named() {
    let mesh = with_backends("{ name: a, kind: Bucket }, { name: b, port: 80 }");
    assert_eq!(
        mesh.resolved("shop/r"),
        (
            Reason::InvalidKind,
            "spec.rules[0].backendRefs[0]: 'Bucket' of group '' is no kind of backend; \
             spec.rules[0].backendRefs[1]: there is no Service shop/b"
        ),
        "the first gives the reason"
    );
}

#[test]
fn a_rule_may_have_no_backend() {
    for rules in ["{ }", "{ backendRefs: [ ] }"] {
        let mesh = http(rules);
        assert_eq!(mesh.rule().backends, []);
        assert_eq!(mesh.accepted("shop/r").0, Reason::Accepted);
        assert_eq!(mesh.resolved("shop/r").0, Reason::ResolvedRefs);
    }
}

#[test]
fn a_mirror_that_leads_nowhere_does_not_touch_the_request() {
    let mirror = |service: &str| {
        format!(
            "{{ type: RequestMirror, requestMirror: {{ backendRef: {{ name: {service}, port: 80 }}, percent: 50 }} }}"
        )
    };
    let mesh = http(&format!(
        "{{ filters: [ {} ], backendRefs: [ {{ name: v1, port: 80, filters: [ {} ] }} ] }}",
        mirror("gone"),
        mirror("v2")
    ));
    let rule = mesh.rule();
    let target = |filters: &[Filter]| match filters {
        [Filter::Mirror(mirror)] => {
            assert_eq!((mirror.numerator, mirror.denominator), (50, 100));
            mirror.target.clone()
        }
        other => unreachable!("{other:?}"),
    };
    assert!(matches!(target(&rule.filters), BackendTarget::Invalid { .. }));
    assert!(matches!(
        target(&rule.backends[0].filters),
        BackendTarget::Service { .. }
    ));
    assert_eq!(targets(&rule.backends), ["1*shop/v1:80"]);
    let field = "spec.rules[0].filters[0].requestMirror.backendRef";
    assert_eq!(
        mesh.resolved("shop/r"),
        (
            Reason::BackendNotFound,
            format!("{field}: there is no Service shop/gone").as_str()
        )
    );
}

#[test]
fn backends_speak_what_the_route_carries() {
    // Ports of `calls`: 7070 says nothing, 443 TLS, 80 HTTP/1.1; port 5432 of `web` bytes.
    let cases = [
        ("HTTPRoute", ["+", "-", "+", "-"]),
        ("GRPCRoute", ["+", "-", "-", "-"]),
        ("TLSRoute", ["+", "+", "-", "+"]),
        ("TCPRoute", ["+", "+", "+", "+"]),
    ];
    let backends = [
        "calls, port: 7070",
        "calls, port: 443",
        "calls, port: 80",
        "web, port: 5432",
    ];
    for (kind, expected) in cases {
        let hostnames = if kind == "TLSRoute" {
            "hostnames: [ a.b ],"
        } else {
            ""
        };
        for (backend, expected) in backends.iter().zip(expected) {
            let given = Given {
                kind,
                parent: "{ group: '', kind: Service, name: v1 }",
                ..Given::default()
            };
            let rules = format!("{{ backendRefs: [ {{ name: {backend} }} ] }}");
            let mesh = mesh(&given.manifest_with(hostnames, &rules));
            let (reason, message) = mesh.resolved("shop/r");
            let wanted = if expected == "+" {
                Reason::ResolvedRefs
            } else {
                Reason::UnsupportedProtocol
            };
            assert_eq!(reason, wanted, "{kind} to {backend}: {message}");
        }
    }
}

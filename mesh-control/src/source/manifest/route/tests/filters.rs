//! Filters: each field, and what it becomes.

use mesh_model::{HeaderEdits, PathEdit};

use super::*;
use crate::world::Filter;

fn filter(text: &str) -> mesh_model::Filter {
    match rule(text).filters.as_slice() {
        [Filter::Plain(filter)] => filter.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn reads_header_modifiers() {
    let edits = "set: [ { name: X-Set, value: a } ], add: [ { name: X-Add, value: 'b, c' } ], remove: [ X-Gone, x-gone ]";
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let expected = HeaderEdits {
        set: vec![pair("x-set", "a")],
        add: vec![pair("x-add", "b, c")],
        remove: vec!["x-gone".to_owned()],
    };
    for make in [http, grpc] {
        assert_eq!(
            filter(&make(&format!(
                "filters: [ {{ type: RequestHeaderModifier, requestHeaderModifier: {{ {edits} }} }} ]"
            ))),
            mesh_model::Filter::RequestHeaders(expected.clone())
        );
        assert_eq!(
            filter(&make(&format!(
                "filters: [ {{ type: ResponseHeaderModifier, responseHeaderModifier: {{ {edits} }} }} ]"
            ))),
            mesh_model::Filter::ResponseHeaders(expected.clone())
        );
    }
}

#[test]
fn reads_redirects_and_rewrites() {
    let bare = mesh_model::Redirect {
        scheme: None,
        hostname: None,
        path: None,
        port: None,
        status: 302,
    };
    let redirect = |fields: &str| {
        let filter = filter(&http(&format!(
            "matches: [ {{ path: {{ value: /a }} }} ], \
             filters: [ {{ type: RequestRedirect, requestRedirect: {{ {fields} }} }} ]"
        )));
        match filter {
            mesh_model::Filter::Redirect(redirect) => redirect,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(redirect(""), bare);
    for status in [301, 302, 303, 307, 308] {
        let expected = mesh_model::Redirect {
            status,
            ..bare.clone()
        };
        assert_eq!(redirect(&format!("statusCode: {status}")), expected);
    }
    assert_eq!(
        redirect(
            "scheme: https, hostname: example.org, port: 8443, path: { type: ReplacePrefixMatch, replacePrefixMatch: '' }"
        ),
        mesh_model::Redirect {
            scheme: Some("https".to_owned()),
            hostname: Some("example.org".to_owned()),
            port: Some(8443),
            path: Some(PathEdit::Prefix(String::new())),
            ..bare
        }
    );
    let rewrite = "filters: [ { type: URLRewrite, urlRewrite: { hostname: v2.example.org, path: { type: ReplaceFullPath, \
                   replaceFullPath: /one } } } ]";
    assert_eq!(
        filter(&http(rewrite)),
        mesh_model::Filter::Rewrite(mesh_model::Rewrite {
            hostname: Some("v2.example.org".to_owned()),
            path: Some(PathEdit::Full("/one".to_owned())),
        })
    );
}

#[test]
fn reads_mirrors() {
    let shares = |fields: &str| {
        let rule = rule(&http(&format!(
            "filters: [ {{ type: RequestMirror, requestMirror: {{ backendRef: {{ name: copy, port: 80 }} {fields} }} }} ]"
        )));
        match rule.filters.as_slice() {
            [
                Filter::Mirror {
                    backend,
                    numerator,
                    denominator,
                },
            ] => {
                let field = "spec.rules[0].filters[0].requestMirror.backendRef";
                assert_eq!((backend.field.as_str(), backend.name.as_str()), (field, "copy"));
                (*numerator, *denominator)
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(shares(""), (100, 100));
    assert_eq!(shares(", percent: 0"), (0, 100));
    assert_eq!(shares(", percent: 42"), (42, 100));
    assert_eq!(shares(", fraction: { numerator: 5 }"), (5, 100));
    assert_eq!(
        shares(", fraction: { numerator: 1, denominator: 1000 }"),
        (1, 1000)
    );
    let several = "filters: [ { type: RequestMirror, requestMirror: { backendRef: { name: a, port: 80 } } }, \
                   { type: RequestMirror, requestMirror: { backendRef: { name: b, port: 80 } } } ]";
    assert_eq!(rule(&http(several)).filters.len(), 2);
    assert_eq!(rule(&grpc(several)).filters.len(), 2);
}

#[test]
fn reads_cors() {
    let cors = |fields: &str| {
        filter(&http(&format!(
            "filters: [ {{ type: CORS, cors: {{ {fields} }} }} ]"
        )))
    };
    let bare = mesh_model::Cors {
        allow_origins: Vec::new(),
        allow_credentials: false,
        allow_methods: Vec::new(),
        allow_headers: Vec::new(),
        expose_headers: Vec::new(),
        max_age: 5,
    };
    assert_eq!(cors(""), mesh_model::Filter::Cors(bare));
    let list = |entries: &[&str]| entries.iter().map(|entry| (*entry).to_owned()).collect();
    assert_eq!(
        cors(
            "allowOrigins: [ 'https://*.example.com', 'http://a.example:8080' ], allowCredentials: true, \
             allowMethods: [ GET, PUT ], allowHeaders: [ X-A ], exposeHeaders: [ '*' ], maxAge: 600"
        ),
        mesh_model::Filter::Cors(mesh_model::Cors {
            allow_origins: list(&["https://*.example.com", "http://a.example:8080"]),
            allow_credentials: true,
            allow_methods: list(&["GET", "PUT"]),
            allow_headers: list(&["X-A"]),
            expose_headers: list(&["*"]),
            max_age: 600,
        })
    );
}

#[test]
fn filters_stay_in_their_order() {
    let rule = rule(&http(
        "filters: [ { type: URLRewrite, urlRewrite: { } }, { type: RequestHeaderModifier, requestHeaderModifier: { } }, \
         { type: RequestMirror, requestMirror: { backendRef: { name: a, port: 80 } } }, { type: CORS, cors: { } } ]",
    ));
    let kinds: Vec<&str> = rule
        .filters
        .iter()
        .map(|filter| match filter {
            Filter::Plain(mesh_model::Filter::Rewrite(_)) => "rewrite",
            Filter::Plain(mesh_model::Filter::RequestHeaders(_)) => "headers",
            Filter::Plain(mesh_model::Filter::Cors(_)) => "cors",
            Filter::Mirror { .. } => "mirror",
            Filter::Plain(_) => "other",
        })
        .collect();
    assert_eq!(kinds, ["rewrite", "headers", "mirror", "cors"]);
}

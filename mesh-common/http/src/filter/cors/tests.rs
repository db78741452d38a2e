//! Preflight requests and others, with and without credentials and wildcards.

use super::*;
use http::Request;

fn cors(origins: &[&str], wildcards: bool, credentials: bool) -> Cors {
    let list = |names: &[&str]| {
        let names = if wildcards { &["*"] } else { names };
        names.iter().map(|name| (*name).to_owned()).collect()
    };
    Cors::new(&mesh_model::Cors {
        allow_origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
        allow_credentials: credentials,
        allow_methods: list(&["GET", "PUT"]),
        allow_headers: list(&["x-a", "X-B"]),
        expose_headers: list(&["x-c"]),
        max_age: 5,
    })
    .unwrap()
}

fn request(method: &str, lines: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri("/");
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn preflight(cors: &Cors, origin: &str) -> (u16, Vec<(String, String)>) {
    let lines = [
        ("origin", origin),
        ("access-control-request-method", "PATCH"),
        ("access-control-request-headers", "authorization, x-z"),
    ];
    let response = cors.preflight(&request("OPTIONS", &lines)).unwrap();
    (response.status().as_u16(), sorted(response.headers()))
}

fn sorted(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut lines: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    lines.sort();
    lines
}

fn owned(lines: &[(&str, &str)]) -> Vec<(String, String)> {
    let lines = lines.iter();
    lines
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn answer(cors: &Cors, origin: Option<&str>, backend: &[(&'static str, &str)]) -> Vec<(String, String)> {
    let origin = origin.map(|origin| HeaderValue::from_str(origin).unwrap());
    let mut headers = HeaderMap::new();
    for (name, value) in backend {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    cors.answer(origin.as_ref(), &mut headers);
    sorted(&headers)
}

const VARIES: (&str, &str) = (
    "vary",
    "origin, access-control-request-method, access-control-request-headers",
);

#[test]
fn a_preflight_request_is_answered_with_what_is_allowed() {
    assert_eq!(
        preflight(&cors(&["https://a.test"], false, true), "https://a.test"),
        (
            204,
            owned(&[
                ("access-control-allow-credentials", "true"),
                ("access-control-allow-headers", "x-a, X-B"),
                ("access-control-allow-methods", "GET, PUT"),
                ("access-control-allow-origin", "https://a.test"),
                ("access-control-max-age", "5"),
                VARIES,
            ])
        )
    );
}

#[test]
fn wildcards_are_answered_with_what_was_asked_for() {
    for credentials in [false, true] {
        let (status, mut lines) = preflight(&cors(&["*"], true, credentials), "https://a.test");
        assert_eq!(status, 204);
        let allows = owned(&[("access-control-allow-credentials", "true")]);
        assert_eq!(lines.iter().any(|line| *line == allows[0]), credentials);
        lines.retain(|line| *line != allows[0]);
        assert_eq!(
            lines,
            owned(&[
                ("access-control-allow-headers", "authorization, x-z"),
                ("access-control-allow-methods", "PATCH"),
                ("access-control-allow-origin", "https://a.test"),
                ("access-control-max-age", "5"),
                VARIES,
            ])
        );
    }
}

#[test]
fn an_origin_that_may_not_call_gets_no_header() {
    let cors = cors(&["https://a.test", "https://*.b.test"], false, true);
    assert_eq!(preflight(&cors, "https://evil.test"), (403, owned(&[VARIES])));
    let backend = [("access-control-allow-origin", "*"), ("x-c", "1")];
    let expected = owned(&[("vary", "origin"), ("x-c", "1")]);
    assert_eq!(answer(&cors, Some("https://evil.test"), &backend), expected);
    assert_eq!(answer(&cors, None, &backend), expected);
    assert_eq!(preflight(&cors, "https://x.b.test").0, 204);
}

#[test]
fn only_preflight_requests_are_answered() {
    let cors = cors(&["*"], true, false);
    let origin = ("origin", "https://a.test");
    let method = ("access-control-request-method", "PUT");
    assert!(cors.preflight(&request("OPTIONS", &[origin, method])).is_some());
    for other in [
        request("OPTIONS", &[origin]),
        request("OPTIONS", &[method]),
        request("PUT", &[origin, method]),
        request("GET", &[origin]),
    ] {
        assert!(cors.preflight(&other).is_none(), "{other:?}");
    }
}

#[test]
fn the_backend_s_answer_tells_who_may_read_it() {
    let backend = [
        ("vary", "accept"),
        ("x-c", "1"),
        ("access-control-allow-credentials", "true"),
    ];
    let listed = cors(&["https://a.test"], false, false);
    assert_eq!(
        answer(&listed, Some("https://a.test"), &backend),
        owned(&[
            ("access-control-allow-origin", "https://a.test"),
            ("access-control-expose-headers", "x-c"),
            ("vary", "accept"),
            ("vary", "origin"),
            ("x-c", "1"),
        ])
    );
    let any = answer(&cors(&["*"], true, false), Some("https://a.test"), &[]);
    assert!(
        any.contains(&owned(&[("access-control-expose-headers", "*")])[0]),
        "{any:?}"
    );
    let named = answer(
        &cors(&["*"], true, true),
        Some("https://a.test"),
        &[("x-c", "1"), ("x-d", "2")],
    );
    let line = named
        .iter()
        .find(|(name, _)| name == "access-control-expose-headers");
    let mut exposed: Vec<&str> = line.unwrap().1.split(", ").collect();
    exposed.sort_unstable();
    assert_eq!(exposed, ["x-c", "x-d"]);
}

#[test]
fn vary_is_not_said_twice() {
    for said in ["Origin, accept", "*", "ORIGIN"] {
        let lines = answer(&cors(&["*"], true, false), None, &[("vary", said)]);
        assert_eq!(lines, owned(&[("vary", said)]));
    }
}

#[test]
fn refuses_names_that_are_none() {
    let good = mesh_model::Cors {
        allow_origins: vec!["*".to_owned()],
        allow_credentials: false,
        allow_methods: vec![],
        allow_headers: vec![],
        expose_headers: vec![],
        max_age: 5,
    };
    let bad = || vec!["a b".to_owned()];
    for (cors, field) in [
        (
            mesh_model::Cors {
                allow_origins: bad(),
                ..good.clone()
            },
            "origin",
        ),
        (
            mesh_model::Cors {
                allow_methods: bad(),
                ..good.clone()
            },
            "method",
        ),
        (
            mesh_model::Cors {
                allow_headers: bad(),
                ..good.clone()
            },
            "header",
        ),
        (
            mesh_model::Cors {
                expose_headers: bad(),
                ..good.clone()
            },
            "header",
        ),
    ] {
        let error = Cors::new(&cors).unwrap_err().to_string();
        assert!(error.starts_with(&format!("the {field} 'a b'")), "{error}");
    }
    let empty = Cors::new(&good).unwrap();
    let (status, lines) = preflight(&empty, "https://a.test");
    assert_eq!((status, lines.len()), (204, 3), "{lines:?}");
}

//! The order of matches, one by one.

mod conformance;

use super::*;
use http::{HeaderValue, Request};
use mesh_model::fixture::{header, http_rule, prefix};
use mesh_model::{PathMatch, TextMatch, ValueMatch};

fn exact(path: &str) -> HttpMatch {
    HttpMatch {
        path: PathMatch::Exact(path.to_owned()),
        ..HttpMatch::any()
    }
}

fn regex(path: &str) -> HttpMatch {
    HttpMatch {
        path: PathMatch::Regex(path.to_owned()),
        ..HttpMatch::any()
    }
}

fn value(name: &str, value: &str) -> ValueMatch {
    ValueMatch {
        name: name.to_owned(),
        value: TextMatch::Exact(value.to_owned()),
    }
}

fn like(name: &str, regex: &str) -> ValueMatch {
    ValueMatch {
        name: name.to_owned(),
        value: TextMatch::Regex(regex.to_owned()),
    }
}

fn with_method(method: &str, wanted: HttpMatch) -> HttpMatch {
    HttpMatch {
        method: Some(method.to_owned()),
        ..wanted
    }
}

fn with_headers(headers: &[ValueMatch], wanted: HttpMatch) -> HttpMatch {
    HttpMatch {
        headers: headers.to_vec(),
        ..wanted
    }
}

fn with_query(query: &[ValueMatch], wanted: HttpMatch) -> HttpMatch {
    HttpMatch {
        query: query.to_vec(),
        ..wanted
    }
}

fn grpc(service: Option<&str>, method: Option<&str>) -> HttpMatch {
    let text = |text: &str| TextMatch::Exact(text.to_owned());
    HttpMatch {
        path: PathMatch::Grpc {
            service: service.map(text),
            method: method.map(text),
        },
        ..HttpMatch::any()
    }
}

/// One rule for each list of matches.
fn rules(matches: &[&[HttpMatch]]) -> Vec<HttpRule> {
    let rule = |matches: &&[HttpMatch]| http_rule("shop/web#0", matches.to_vec(), Vec::new());
    matches.iter().map(rule).collect()
}

fn table(matches: &[&[HttpMatch]]) -> Table<usize> {
    Table::http(&rules(matches), |at, _| at).unwrap()
}

fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    request.body(()).unwrap().into_parts().0
}

/// The place of the rule for a GET.
fn found(table: &Table<usize>, target: &str, headers: &[(&str, &str)]) -> Option<usize> {
    let matched = table.find(&request("GET", target, headers));
    matched.map(|matched| *matched.payload)
}

/// Target and headers of a GET, and the place of its rule.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<usize>);

#[track_caller]
fn check(table: &Table<usize>, cases: &[Case<'_>]) {
    for (target, headers, expected) in cases {
        assert_eq!(found(table, target, headers), *expected, "{target} {headers:?}");
    }
}

/// Each kind of condition counts more than all of those behind it, over all rules.
#[test]
fn exact_then_regex_then_prefix_then_method_then_headers_then_query() {
    let many = [value("a", "1"), value("b", "1"), value("c", "1")];
    let heavy = |wanted| with_method("GET", with_headers(&many, with_query(&many, wanted)));
    let order = [
        exact("/p/q"),
        heavy(regex("/p/[a-z]{1,9}")),
        regex("/p/[a-z]{1,9}"),
        heavy(regex("/p/.*")),
        heavy(prefix("/p/q")),
        with_method("GET", with_headers(&many[..2], prefix("/p/q"))),
        with_method("GET", with_headers(&many[..1], with_query(&many, prefix("/p/q")))),
        with_method("GET", with_query(&many, prefix("/p/q"))),
        with_method("GET", prefix("/p/q")),
        with_headers(&many[..2], prefix("/p/q/")),
        with_headers(&many[..1], with_query(&many, prefix("/p/q"))),
        with_query(&many[..2], prefix("/p/q")),
        with_query(&many[..1], prefix("/p/q")),
        prefix("/p/q"),
        heavy(prefix("/p")),
        prefix("/"),
    ];
    let all = [("a", "1"), ("b", "1"), ("c", "1")];
    let target = "/p/q?a=1&b=1&c=1";
    // Whatever the order of the rules, and with the first ones left out one by one.
    for start in 0..order.len() {
        let left = &order[start..];
        let forwards: Vec<&[HttpMatch]> = left.iter().map(std::slice::from_ref).collect();
        assert_eq!(found(&table(&forwards), target, &all), Some(0), "{:?}", left[0]);
        let backwards: Vec<&[HttpMatch]> = forwards.into_iter().rev().collect();
        assert_eq!(
            found(&table(&backwards), target, &all),
            Some(left.len() - 1),
            "{:?}",
            left[0]
        );
    }
}

#[test]
fn ties_go_to_the_first_rule_and_matches_are_compared_over_all_rules() {
    let table = table(&[
        &[prefix("/a"), prefix("/long/path")],
        &[prefix("/a"), prefix("/long")],
        &[exact("/x"), prefix("/long/path/more")],
    ]);
    check(
        &table,
        &[
            ("/a", &[], Some(0)),
            ("/long", &[], Some(1)),
            ("/long/path", &[], Some(0)),
            ("/long/path/more", &[], Some(2)),
        ],
    );
}

#[test]
fn of_equivalent_names_in_a_match_the_first_counts() {
    let twice = [value("x-a", "1"), value("X-A", "2")];
    let params = [value("a", "1"), value("a", "2"), value("A", "3")];
    let table = table(&[
        &[with_headers(&twice, exact("/h"))],
        &[with_query(&params, exact("/q"))],
    ]);
    check(
        &table,
        &[
            ("/h", &[("x-a", "1")], Some(0)),
            ("/h", &[("x-a", "2")], None),
            ("/q?a=1&A=3", &[], Some(1)),
            ("/q?a=2&A=3", &[], None),
            ("/q?a=1", &[], None),
        ],
    );
}

#[test]
fn lines_of_a_header_are_one_value() {
    let table = table(&[
        &[with_headers(&[value("x-a", "1,2")], exact("/"))],
        &[with_headers(&[like("x-a", "[^,]*,9")], exact("/"))],
        &[with_headers(&[value("cookie", "a=1; b=2")], exact("/"))],
        &[with_headers(&[value("host", "h.test")], exact("/"))],
    ]);
    check(
        &table,
        &[
            ("/", &[("x-a", "1"), ("X-A", "2")], Some(0)),
            ("/", &[("x-a", "1,2")], Some(0)),
            ("/", &[("x-a", "2"), ("x-a", "1")], None),
            ("/", &[("x-a", "1")], None),
            ("/", &[("x-a", "\u{e9}"), ("x-a", "9")], Some(1)),
            ("/", &[("cookie", "a=1"), ("cookie", "b=2")], Some(2)),
            ("/", &[("host", "h.test")], Some(3)),
            ("http://h.test/", &[], Some(3)),
            ("http://other.test/", &[("host", "h.test")], None),
        ],
    );
}

#[test]
fn a_regular_expression_matches_whole_values() {
    let table = table(&[
        &[regex("/v[0-9]+(/.*)?")],
        &[with_headers(&[like("x-v", "[0-9]+|beta")], exact("/h"))],
        &[with_query(&[like("v", "a b|c.*")], exact("/q"))],
    ]);
    check(
        &table,
        &[
            ("/v1", &[], Some(0)),
            ("/v12/x/y", &[], Some(0)),
            ("/x/v1", &[], None),
            ("/v1x", &[], None),
            ("/h", &[("x-v", "12")], Some(1)),
            ("/h", &[("x-v", "12beta")], None),
            ("/q?v=a+b", &[], Some(2)),
            ("/q?v=c%0Ad", &[], None),
            ("/q?v=cde", &[], Some(2)),
        ],
    );
}

#[test]
fn paths_of_rules_are_taken_in_normal_form() {
    let table = table(&[&[exact("/a/./b/%7euser")], &[prefix("/caf\u{e9}/")]]);
    check(
        &table,
        &[("/a/b/~user", &[], Some(0)), ("/caf%C3%A9/x", &[], Some(1))],
    );
}

#[test]
fn a_prefix_is_told_and_every_target_has_the_root() {
    let table = table(&[&[prefix("/a/b/")], &[regex("/r.*"), exact("/e")], &[prefix("/")]]);
    for (method, target, expected) in [
        ("GET", "/a/b/c", (0, Some("/a/b"))),
        ("GET", "/rr", (1, None)),
        ("GET", "/e", (1, None)),
        ("GET", "/", (2, Some(""))),
        ("OPTIONS", "*", (2, Some(""))),
        ("CONNECT", "h.test:80", (2, Some(""))),
    ] {
        let request = request(method, target, &[]);
        let matched = table.find(&request).unwrap();
        assert_eq!((*matched.payload, matched.prefix), expected, "{target}");
    }
}

#[test]
fn grpc_by_service_then_method_then_headers() {
    let rules = rules(&[
        &[grpc(None, None)],
        &[with_headers(&[value("a", "1")], grpc(Some("pkg.Shop"), None))],
        &[grpc(None, Some("Get"))],
        &[grpc(Some("pkg.Shop"), Some("Get"))],
        &[grpc(Some("pkg.Shop"), None)],
        &[with_headers(&[value("a", "1")], grpc(None, None))],
        &[prefix("/")],
    ]);
    let table = Table::grpc(&rules, |at, _| at).unwrap();
    check(
        &table,
        &[
            ("/pkg.Shop/Get", &[("a", "1")], Some(3)),
            ("/pkg.Shop/Put", &[("a", "1")], Some(1)),
            ("/pkg.Shop/Put", &[], Some(4)),
            ("/pkg.Other/Get", &[("a", "1")], Some(2)),
            ("/pkg.Other/Put", &[("a", "1")], Some(5)),
            ("/pkg.Other/Put", &[], Some(0)),
            ("/pkg.shop/get", &[], Some(0)),
            // No calls, so only what matches everything.
            ("/pkg.Shop", &[], Some(6)),
            ("/pkg.Shop/", &[], Some(6)),
            ("/pkg.Shop/Get/x", &[], Some(6)),
            ("//Get", &[], Some(6)),
        ],
    );
}

#[test]
fn grpc_with_regular_expressions() {
    let of = |service: &str, method: Option<&str>| HttpMatch {
        path: PathMatch::Grpc {
            service: Some(TextMatch::Regex(service.to_owned())),
            method: method.map(|method| TextMatch::Regex(method.to_owned())),
        },
        ..HttpMatch::any()
    };
    let rules = rules(&[&[of("pkg\\..*", None)], &[of("pkg\\..*", Some("(Get|List).*"))]]);
    let table = Table::grpc(&rules, |at, _| at).unwrap();
    check(
        &table,
        &[
            ("/pkg.Shop/GetItem", &[], Some(1)),
            ("/pkg.Shop/PutItem", &[], Some(0)),
            ("/pkgs/GetItem", &[], None),
        ],
    );
}

#[test]
fn a_rule_without_matches_and_a_table_without_rules_match_nothing() {
    assert_eq!(found(&table(&[]), "/", &[]), None);
    assert_eq!(found(&table(&[&[]]), "/", &[]), None);
    assert!(!Matcher::new(&[]).unwrap().matches(&request("GET", "/", &[])));
}

#[test]
fn a_matcher_is_content_with_any_of_its_matches() {
    let matcher = Matcher::new(&[
        with_method("POST", exact("/a")),
        header("x-a", "1"),
        prefix("/b"),
        regex("/c+"),
        grpc(Some("pkg.Shop"), None),
    ])
    .unwrap();
    for (method, target, headers, expected) in [
        ("POST", "/a", &[][..], true),
        ("GET", "/a", &[], false),
        ("GET", "/a", &[("x-a", "1")], true),
        ("GET", "/b/c", &[], true),
        ("GET", "/bc", &[], false),
        ("GET", "/ccc", &[], true),
        ("POST", "/pkg.Shop/Get", &[], true),
        ("POST", "/pkg.Other/Get", &[], false),
    ] {
        assert_eq!(
            matcher.matches(&request(method, target, headers)),
            expected,
            "{method} {target}"
        );
    }
}

#[test]
fn an_error_names_rule_match_and_field() {
    for (bad, text) in [
        (regex("/("), "the regular expression '/(' does not compile: "),
        (
            with_headers(&[like("a", "[")], exact("/")),
            "the regular expression '[' does not compile: ",
        ),
        (
            exact("a"),
            "the path 'a' cannot be: the path does not begin with '/'",
        ),
        (exact("/a?b"), "the path '/a?b' contains '?', which ends a path"),
        (
            prefix("/a//b"),
            "the path '/a//b' is a prefix with an empty segment",
        ),
        (prefix("/a%zz"), "the path '/a%zz' cannot be: "),
        (
            with_method("A B", exact("/")),
            "the method 'A B' is no HTTP method",
        ),
        (header("a b", "1"), "the header 'a b' is no header's name"),
        (grpc(None, None), "is not of the route's kind"),
    ] {
        let rules = [http_rule(
            "shop/web#canary",
            vec![prefix("/"), bad.clone()],
            Vec::new(),
        )];
        let error = Table::http(&rules, |_, _| ()).unwrap_err();
        let message = error.to_string();
        assert!(
            message.starts_with("rule shop/web#canary, match 1: "),
            "{message}"
        );
        assert!(message.contains(text), "{message}");
        if !matches!(bad.path, PathMatch::Grpc { .. }) {
            let message = Matcher::new(&[bad]).unwrap_err().to_string();
            assert!(
                message.starts_with("match 0: ") && message.contains(text),
                "{message}"
            );
        }
    }
    let rules = rules(&[&[exact("/pkg.Shop/Get")]]);
    assert!(Table::grpc(&rules, |_, _| ()).is_err());
}

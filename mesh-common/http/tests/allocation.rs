//! What is done for every request allocates nothing where nothing changes, counted by the allocator itself.

#![expect(clippy::unwrap_used, reason = "in a test, a failure's place is what matters")]
#![expect(
    unsafe_code,
    reason = "an allocator is unsafe by its nature; this one only counts"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request};
use mesh_http::table::{Matcher, Table};
use mesh_http::{headers, path};
use mesh_model::fixture::{header, http_rule, prefix};
use mesh_model::{HttpMatch, HttpRule, PathMatch, TextMatch, ValueMatch};

/// The system's allocator, with a count for each thread.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: likewise.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: likewise.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `work` allocates.
fn allocations<T>(work: impl FnOnce() -> T) -> usize {
    let before = COUNT.get();
    black_box(work());
    COUNT.get() - before
}

fn value(name: &str, value: TextMatch) -> ValueMatch {
    ValueMatch {
        name: name.to_owned(),
        value,
    }
}

fn regex(expression: &str) -> TextMatch {
    TextMatch::Regex(expression.to_owned())
}

/// 1,000 routes with everything that a match can have.
fn rules() -> Vec<HttpRule> {
    let mut rules: Vec<HttpRule> = (0..1000)
        .map(|at| {
            let wanted = match at % 5 {
                0 => HttpMatch {
                    path: PathMatch::Exact(format!("/exact/{at}")),
                    ..HttpMatch::any()
                },
                1 => prefix(&format!("/prefix/{at}")),
                2 => HttpMatch {
                    path: PathMatch::Regex(format!("/regex/{at}/[0-9]+.*")),
                    ..HttpMatch::any()
                },
                3 => header("x-tenant", &at.to_string()),
                _ => HttpMatch {
                    method: Some("POST".to_owned()),
                    headers: vec![
                        value("x-version", regex("[0-9]+,[0-9]+")),
                        value("cookie", regex(".*a=1.*")),
                    ],
                    query: vec![
                        value("a b", regex("[a-z ]+")),
                        value("c", TextMatch::Exact("d é".to_owned())),
                    ],
                    ..prefix(&format!("/all/{at}"))
                },
            };
            http_rule("shop/web#0", vec![wanted], Vec::new())
        })
        .collect();
    rules.push(http_rule("shop/web#last", vec![prefix("/all")], Vec::new()));
    rules
}

fn request(method: &str, target: &str, headers: usize) -> Parts {
    let mut request = Request::builder().method(method).uri(target);
    for at in 0..headers {
        request = request.header(format!("x-header-{at}"), "value");
    }
    for (name, value) in [
        ("host", "web.shop"),
        ("x-version", "1"),
        ("x-version", "2"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
    ] {
        request = request.header(name, value);
    }
    request.body(()).unwrap().into_parts().0
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| 1), 0);
    assert_eq!(allocations(|| Box::new(1)), 1);
}

#[test]
fn a_match_allocates_nothing_however_many_headers_there_are() {
    let table = Table::http(&rules(), |at, _| at).unwrap();
    let matches: Vec<HttpMatch> = rules().into_iter().flat_map(|rule| rule.matches).collect();
    let matcher = Matcher::new(&matches).unwrap();
    let all = "?x=%41&a+b=s%70ace+d&c=d%20%C3%A9";
    for (method, target, tenant, expected) in [
        ("GET", "/exact/500", None, Some(500)),
        ("GET", "/prefix/501/a/b/c/d", None, Some(501)),
        ("GET", "/regex/502/123/rest", None, Some(502)),
        ("GET", "/anything", Some("503"), Some(503)),
        ("POST", &format!("/all/504/x{all}"), None, Some(504)),
        ("GET", "/all/504/x", None, Some(1000)),
        ("GET", "/regex/502/x", None, None),
        ("GET", "/", Some("5030"), None),
    ] {
        for headers in [0, 90] {
            let mut request = request(method, target, headers);
            if let Some(tenant) = tenant {
                request
                    .headers
                    .insert("x-tenant", HeaderValue::from_static(tenant));
            }
            let found = table.find(&request).map(|matched| *matched.payload);
            assert_eq!(found, expected, "{target}");
            assert_eq!(
                allocations(|| table.find(&request).is_some()),
                0,
                "{target}, {headers} headers"
            );
            assert_eq!(matcher.matches(&request), expected.is_some());
            assert_eq!(
                allocations(|| matcher.matches(&request)),
                0,
                "{target}, {headers} headers"
            );
        }
    }
}

#[test]
fn a_path_in_normal_form_is_not_copied() {
    let mut request = request("GET", "/a/b%2Fc/.well-known/x?y=%zz", 0);
    let count = allocations(|| path::normalise_uri(&request.method, &mut request.uri).is_ok());
    assert_eq!(count, 0);
}

#[test]
fn reading_headers_allocates_nothing() {
    let mut some = request("GET", "/a?b=c", 20);
    for (name, value) in [
        ("te", "trailers"),
        ("keep-alive", "timeout=5"),
        ("content-type", "application/grpc+proto"),
        ("grpc-status", "0"),
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        ("tracestate", "a=1,b=2"),
        ("b3", "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1"),
        ("x-request-id", "1"),
        ("x-forwarded-proto", "http"),
    ] {
        some.headers.insert(name, HeaderValue::from_static(value));
    }
    let count = allocations(|| {
        headers::upgrade(&some.headers).is_some()
            | headers::is_grpc(&some.headers)
            | headers::grpc_status(&some.headers).is_some()
            | headers::trace_id(&some.headers).is_some()
            | headers::cookie(&some.headers, "b").is_some()
            | headers::query(&some.uri, "b").is_some()
            | headers::authority(&some).is_some()
    });
    assert_eq!(count, 0);
    let count = allocations(|| {
        headers::strip_hop_by_hop(&mut some.headers);
        headers::sanitise_trace(&mut some.headers);
        headers::request_id(&mut some.headers, || [0; 16]);
        headers::forwarded_proto(&mut some.headers, "http");
        headers::align_host(&mut some);
    });
    assert_eq!(count, 0);
    assert_eq!(some.headers.len(), request("GET", "/", 20).headers.len() + 8);
}

#[test]
fn edits_that_change_nothing_allocate_nothing() {
    let edits = mesh_model::HeaderEdits {
        set: vec![("x-a".to_owned(), "1".to_owned())],
        add: Vec::new(),
        remove: vec!["x-b".to_owned()],
    };
    let edits = mesh_http::filter::Edits::new(&edits).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("x-a", HeaderValue::from_static("1"));
    // The first use makes the value a shared one.
    edits.apply(&mut headers);
    assert_eq!(allocations(|| edits.apply(&mut headers)), 0);
}

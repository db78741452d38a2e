//! What a match costs in tables of 10 and 1,000 routes, of several shapes. Budget: 2 µs in a table of 1,000.
//!
//! The shapes are what makes a table hard: every route at a path of its own, exact or with a prefix; deep paths; routes told
//! apart by a header or query parameter alone; regular expressions; gRPC methods. Requests go to the first route, the last,
//! one in between, and none. Beyond the budget, and documented as such: regular expressions that begin with nothing in
//! particular, which are tried one after the other.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::Request;
use http::request::Parts;
use mesh_http::table::Table;
use mesh_model::fixture::http_rule;
use mesh_model::{HttpMatch, HttpRule, PathMatch, TextMatch, ValueMatch};

/// A table's shape: the match of each route, and a request that only this route matches.
type Shape = (&'static str, fn(usize) -> HttpMatch, fn(usize) -> Parts);

const SHAPES: [Shape; 8] = [
    (
        "exact",
        |at| path(PathMatch::Exact(format!("/api/v1/resource-{at}"))),
        |at| get(&format!("/api/v1/resource-{at}")),
    ),
    (
        "prefix",
        |at| path(PathMatch::Prefix(format!("/api/v1/resource-{at}"))),
        |at| get(&format!("/api/v1/resource-{at}/items/42?page=2")),
    ),
    (
        "deep",
        |at| path(PathMatch::Prefix(format!("/a/b/c/d/e/{}/f/g/{at}", at % 10))),
        |at| get(&format!("/a/b/c/d/e/{}/f/g/{at}/h/i/j", at % 10)),
    ),
    (
        "header",
        |at| HttpMatch {
            headers: vec![one_of("x-tenant", at)],
            ..HttpMatch::any()
        },
        tenant,
    ),
    (
        "query",
        |at| HttpMatch {
            query: vec![one_of("tenant", at)],
            ..HttpMatch::any()
        },
        |at| get(&format!("/any/path?page=1&tenant=tenant-{at}")),
    ),
    (
        "regex",
        |at| path(PathMatch::Regex(format!("/service-{at}/users/[0-9]+(/.*)?"))),
        |at| get(&format!("/service-{at}/users/12345/orders")),
    ),
    (
        "regex-anywhere",
        |at| path(PathMatch::Regex(format!(".*/item-{at}"))),
        |at| get(&format!("/service/users/12345/item-{at}")),
    ),
    (
        "grpc",
        |at| {
            path(PathMatch::Grpc {
                service: Some(exact(&format!("shop.v1.Service{at}"))),
                method: Some(exact("Get")),
            })
        },
        |at| get(&format!("/shop.v1.Service{at}/Get")),
    ),
];

fn path(path: PathMatch) -> HttpMatch {
    HttpMatch {
        path,
        ..HttpMatch::any()
    }
}

fn exact(text: &str) -> TextMatch {
    TextMatch::Exact(text.to_owned())
}

fn one_of(name: &str, at: usize) -> ValueMatch {
    ValueMatch {
        name: name.to_owned(),
        value: exact(&format!("tenant-{at}")),
    }
}

/// A request as browsers and clients of APIs send it, with a dozen headers.
fn get(target: &str) -> Parts {
    let mut request = Request::builder().uri(target);
    for (name, value) in [
        ("host", "web.shop.svc.cluster.local"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
        ("accept", "application/json, text/plain, */*"),
        ("accept-encoding", "gzip, deflate, br"),
        ("accept-language", "en-GB,en;q=0.9"),
        (
            "authorization",
            "Bearer eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl",
        ),
        ("cookie", "session=0123456789abcdef; theme=dark"),
        ("content-type", "application/json"),
        ("x-request-id", "5f0c5b6e-6f2e-4a7e-9a51-7b9b1d1f2c3d"),
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        ("cache-control", "no-cache"),
        ("referer", "https://shop.example.com/basket"),
    ] {
        request = request.header(name, value);
    }
    parts(request)
}

fn tenant(at: usize) -> Parts {
    let mut request = get("/any/path");
    if let Ok(value) = format!("tenant-{at}").parse() {
        request.headers.insert("x-tenant", value);
    }
    request
}

#[expect(clippy::unwrap_used, reason = "a bad literal shall stop the bench")]
fn parts(request: http::request::Builder) -> Parts {
    request.body(()).unwrap().into_parts().0
}

fn rules(count: usize, shape: fn(usize) -> HttpMatch) -> Vec<HttpRule> {
    (0..count)
        .map(|at| http_rule("shop/web#0", vec![shape(at)], Vec::new()))
        .collect()
}

#[expect(
    clippy::unwrap_used,
    reason = "a table that does not compile shall stop the bench"
)]
fn table(count: usize, (name, shape, _): Shape) -> Table<usize> {
    let rules = rules(count, shape);
    match name {
        "grpc" => Table::grpc(&rules, |at, _| at).unwrap(),
        _ => Table::http(&rules, |at, _| at).unwrap(),
    }
}

fn matches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("match");
    group
        .measurement_time(Duration::from_secs(2))
        .warm_up_time(Duration::from_millis(500));
    for shape in SHAPES {
        for count in [10, 1000] {
            let table = table(count, shape);
            let requests = [shape.2(0), shape.2(count / 2), shape.2(count - 1), shape.2(count)];
            group.bench_function(BenchmarkId::new(shape.0, count), |bencher| {
                let mut requests = requests.iter().cycle();
                bencher.iter(|| {
                    black_box(&table)
                        .find(black_box(requests.next()?))
                        .map(|matched| *matched.payload)
                });
            });
        }
    }
    group.finish();
}

fn compiles(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(10).measurement_time(Duration::from_secs(2));
    for shape in SHAPES {
        group.bench_function(BenchmarkId::new(shape.0, 1000), |bencher| {
            bencher.iter(|| table(1000, shape));
        });
    }
    group.finish();
}

criterion_group!(benches, matches, compiles);
criterion_main!(benches);

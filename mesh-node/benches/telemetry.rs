//! What telling of a request costs. Budget: 0.5 µs to count it. Lines of the access log go to standard error: run with
//! `2>/dev/null`.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run should stop")]

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use mesh_model::{Identity, ResourceName, RuleName, TrustDomain};
use mesh_node::telemetry::access_log::{AccessLog, Logged, Settings};
use mesh_node::telemetry::requests::{RequestMetrics, RequestRecord};
use mesh_runtime::logging::{LogConfig, LogFormat};

/// Lines that are added before they are written out, apart from what is measured: fewer than a buffer takes.
const LINES: usize = 500;

/// Names as they are in clusters: a pod of a deployment, a Service, a canary.
struct Names {
    client: ResourceName,
    identity: Identity,
    service: ResourceName,
    backend: ResourceName,
    destination: ResourceName,
    route: RuleName,
}

impl Names {
    fn new(number: usize) -> Self {
        let name = |text: &str| text.parse().unwrap();
        let domain = TrustDomain::new("cluster.local").unwrap();
        Self {
            client: name("storefront/frontend-6d8f9c7b54-x2k9p"),
            identity: Identity::new(domain, "storefront", "frontend").unwrap(),
            service: name("storefront/recommendations"),
            backend: name("storefront/recommendations-v2"),
            destination: name(&format!("storefront/recommendations-v2-5c7d8-{number}")),
            route: RuleName {
                route: name("storefront/recommendations-canary"),
                rule: "split".to_owned(),
            },
        }
    }

    fn record(&self) -> RequestRecord<'_> {
        RequestRecord {
            source: Some(&self.client),
            source_identity: Some(&self.identity),
            service: Some((&self.service, 80)),
            route: Some(&self.route),
            backend: Some((&self.backend, 8080)),
            destination: Some(&self.destination),
            destination_identity: Some(&self.identity),
            endpoint: Some(SocketAddr::from(([10, 1, 2, 3], 8080))),
            transport: "hbone",
            method: "GET",
            authority: "recommendations.storefront.svc.cluster.local",
            path: "/api/v2/recommendations/for/4711",
            status: Some(200),
            attempts: 1,
            duration: Duration::from_micros(3_217),
            upstream_duration: Some(Duration::from_micros(3_010)),
            response_bytes: 4_096,
            request_id: "6f1d6a2c-0000-4000-8000-000000000001",
            trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
            user_agent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            ..RequestRecord::from(SocketAddr::from(([10, 1, 2, 9], 40_000)))
        }
    }
}

fn counting(c: &mut Criterion) {
    let mut group = c.benchmark_group("count a request");
    for series in [1, 100, 5_000] {
        let metrics = RequestMetrics::new(4, 10_000);
        let names: Vec<Names> = (0..series).map(Names::new).collect();
        let mut next = 0;
        group.bench_function(format!("among {series} series"), |b| {
            b.iter(|| {
                next = (next + 7) % names.len();
                metrics.record(black_box(&names[next].record()));
            });
        });
    }
    let metrics = RequestMetrics::new(4, 10_000);
    let names: Vec<Names> = (0..100).map(Names::new).collect();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                for name in &names {
                    metrics.record(&name.record());
                }
            }
        });
        let mut next = 0;
        group.bench_function("while another thread counts in the same series", |b| {
            b.iter(|| {
                next = (next + 7) % names.len();
                metrics.record(black_box(&names[next].record()));
            });
        });
        is_over.store(true, Ordering::Relaxed);
    });
    group.finish();
}

fn reading(c: &mut Criterion) {
    let metrics = RequestMetrics::new(4, 10_000);
    for number in 0..5_000 {
        metrics.record(&Names::new(number).record());
    }
    c.bench_function("read 5,000 series", |b| b.iter(|| black_box(metrics.read())));
}

fn logging(c: &mut Criterion) {
    let _handle = mesh_runtime::logging::init(&LogConfig::default()).unwrap();
    let names = Names::new(1);
    let mut group = c.benchmark_group("log a request");
    for (name, format) in [("as text", LogFormat::Text), ("as JSON", LogFormat::Json)] {
        let log = AccessLog::new(Settings {
            connections: Logged::Off,
            requests: Logged::All,
            sample: 1.0,
            format,
            threads: 1,
        });
        group.bench_function(name, |b| {
            b.iter_custom(|count| {
                let mut took = Duration::ZERO;
                for begin in (0..count).step_by(LINES) {
                    let started = Instant::now();
                    for _ in begin..count.min(begin + LINES as u64) {
                        log.write_request(black_box(&names.record()));
                    }
                    took += started.elapsed();
                    log.flush();
                }
                took
            });
        });
        assert_eq!(log.left_out(), 0);
    }
    group.finish();
}

criterion_group!(benches, counting, reading, logging);
criterion_main!(benches);

//! What it costs to choose an endpoint, out of 10 and out of 1,000, in every way; and what admission and limits cost.
//! Budget: 1 µs for each, also where a quarter of the endpoints is ejected.

#![expect(clippy::expect_used, reason = "a bad literal shall stop the benchmark")]

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mesh_model::{
    BackendPolicy, Balancing, Change, Diff, Endpoint, EndpointSet, HashKey, Locality, LocalityPreference,
    OutlierDetection, PortMapping, PortPolicy, RateLimit, RateLimitKey, Snapshot, fixture,
};
use mesh_node::resilience::{Backend, Backends, Demand, Outcome, Pick, RateLimiter, Touched, stable_hash};

fn ways() -> [(&'static str, Balancing); 6] {
    let key = HashKey::SourceAddress;
    let (ring, maglev) = (key.clone(), key);
    [
        ("least request", Balancing::LeastRequest),
        ("peak EWMA", Balancing::PeakEwma),
        ("round robin", Balancing::RoundRobin),
        ("random", Balancing::Random),
        (
            "ring hash",
            Balancing::RingHash {
                key: ring,
                min_size: 1024,
            },
        ),
        (
            "Maglev",
            Balancing::Maglev {
                key: maglev,
                table_size: 65537,
            },
        ),
    ]
}

/// A world with one Service, `a/s`, and so many endpoints in three zones, of three weights if not all alike.
fn snapshot(policy: BackendPolicy, endpoints: u32, is_weighted: bool) -> Snapshot {
    let mut service = fixture::service("a/s", "10.96.0.1", &[80]);
    service.ports[0].policy = Arc::new(PortPolicy {
        backend: policy,
        ..PortPolicy::default()
    });
    let endpoint = |n: u32| Endpoint {
        address: Ipv4Addr::from_bits(0x0a00_0000 + n).into(),
        ports: vec![PortMapping {
            service_port: 80,
            target_port: 8080,
        }],
        workload: None,
        is_ready: true,
        weight: if is_weighted { n % 3 + 1 } else { 1 },
        locality: Locality::new("eu", format!("eu-{}", n % 3)),
    };
    let set = EndpointSet {
        service: service.name.clone(),
        endpoints: (0..endpoints).map(endpoint).collect(),
    };
    let changes = vec![Change::Service(service), Change::Endpoints(set)];
    Snapshot::default().apply(Diff::from(changes))
}

fn bind(snapshot: Snapshot) -> (Backends, Arc<Backend>) {
    let backends = Backends::new();
    backends.refresh(&Arc::new(snapshot), &Touched::default());
    let backend = backends.bind(&"a/s".parse().expect("a valid name"), 80);
    (backends, backend)
}

fn outliers() -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx: Some(1),
        consecutive_gateway: None,
        success_rate: None,
        interval: Duration::from_secs(10),
        base_ejection: Duration::from_secs(3600),
        max_ejection: Duration::from_secs(3600),
        max_ejected_percent: 50,
    }
}

fn choose(backend: &Backend, locality: &Locality, request: u64) {
    let pick = Pick {
        asked: "10.96.0.1:80".parse().expect("a valid address"),
        locality,
        hash: Some(stable_hash(&request.to_be_bytes())),
        affinity: None,
        tried: &[],
        demand: Demand::Request,
    };
    black_box(backend.choose(black_box(&pick))).expect("there are endpoints");
}

fn choosing(criterion: &mut Criterion) {
    let here = Locality::new("eu", "eu-1");
    let mut group = criterion.benchmark_group("choose");
    for (name, balancing) in ways() {
        for endpoints in [10, 1_000] {
            let policy = BackendPolicy {
                balancing: balancing.clone(),
                ..BackendPolicy::default()
            };
            let mut request = 0;
            let mut measure = |case: &str, backend: &Backend| {
                group.bench_function(
                    BenchmarkId::new(format!("{name}, {case}"), endpoints),
                    |bencher| {
                        bencher.iter(|| {
                            request += 1;
                            choose(backend, &here, request);
                        });
                    },
                );
            };
            let (_world, backend) = bind(snapshot(policy.clone(), endpoints, false));
            measure("alike", &backend);
            let (_world, backend) = bind(snapshot(policy.clone(), endpoints, true));
            measure("weighted", &backend);
            let near = BackendPolicy {
                locality: LocalityPreference::Failover,
                outliers: Some(outliers()),
                ..policy
            };
            let (_world, backend) = bind(snapshot(near, endpoints, false));
            measure("by zone", &backend);
            for view in backend.endpoints().iter().step_by(4) {
                view.state.begin().finish(Outcome::Status(500), Duration::ZERO);
            }
            measure("by zone, a quarter ejected", &backend);
        }
    }
    group.finish();
}

fn counting(criterion: &mut Criterion) {
    let (_world, backend) = bind(snapshot(BackendPolicy::default(), 10, false));
    let mut group = criterion.benchmark_group("count");
    group.bench_function("admit a request", |bencher| {
        bencher.iter(|| drop(black_box(backend.admit_request())));
    });
    group.bench_function("ask for a retry", |bencher| {
        bencher.iter(|| black_box(backend.admit_retry()));
    });
    let state = &backend.endpoints()[0].state;
    group.bench_function("begin and finish", |bencher| {
        bencher.iter(|| {
            state
                .begin()
                .finish(Outcome::Status(200), Duration::from_millis(3));
        });
    });
    let client = fixture::identity("a", "web");
    for key in [RateLimitKey::Service, RateLimitKey::ClientIdentity] {
        let limiter = RateLimiter::new(&RateLimit {
            requests: 1_000_000_000,
            interval: Duration::from_secs(1),
            burst: 1_000_000,
            key,
        });
        let case = BenchmarkId::new("rate limit", format!("{key:?}"));
        group.bench_function(case, |bencher| {
            bencher.iter(|| black_box(RateLimiter::check_all([&limiter].into_iter(), &client)));
        });
    }
    group.finish();
}

fn rebuilding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rebuild");
    for (name, balancing) in ways() {
        for endpoints in [10, 1_000] {
            let policy = BackendPolicy {
                balancing: balancing.clone(),
                ..BackendPolicy::default()
            };
            // One endpoint more, one less: no table can be taken over.
            let worlds =
                [endpoints, endpoints + 1].map(|count| Arc::new(snapshot(policy.clone(), count, false)));
            let (backends, _held) = bind(snapshot(policy, endpoints, false));
            let touched = Touched::by(&Diff::from(vec![Change::ServiceRemoved(
                "a/s".parse().expect("a valid name"),
            )]));
            let mut turn = 0;
            group.bench_function(BenchmarkId::new(name, endpoints), |bencher| {
                bencher.iter(|| {
                    turn += 1;
                    backends.refresh(&worlds[turn % 2], &touched);
                });
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(20);
    targets = choosing, counting, rebuilding
}
criterion_main!(benches);

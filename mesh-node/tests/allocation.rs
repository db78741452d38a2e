//! What choosing an endpoint and counting requests allocates: nothing, counted by the allocator itself.

#![expect(
    unsafe_code,
    reason = "an allocator is unsafe by its nature; this one only counts"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use mesh_model::{
    BackendPolicy, Balancing, Change, Diff, Endpoint, EndpointSet, HashKey, Locality, LocalityPreference,
    OutlierDetection, PortMapping, PortPolicy, RateLimit, RateLimitKey, Snapshot, fixture,
};
use mesh_node::resilience::{Backend, Backends, Demand, Outcome, Pick, RateLimiter, Touched};

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

/// How often `work` allocates when it is done for the hundredth time: what a thread needs once, it has then.
fn allocations(mut work: impl FnMut()) -> usize {
    (0..99).for_each(|_| work());
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

fn ways() -> [Balancing; 6] {
    let key = HashKey::SourceAddress;
    [
        Balancing::LeastRequest,
        Balancing::PeakEwma,
        Balancing::RoundRobin,
        Balancing::Random,
        Balancing::RingHash {
            key: key.clone(),
            min_size: 1024,
        },
        Balancing::Maglev {
            key,
            table_size: 1009,
        },
    ]
}

/// `a/s` with a hundred endpoints in three zones, of which a quarter is ejected.
fn backend(balancing: Balancing) -> (Backends, Arc<Backend>) {
    let mut service = fixture::service("a/s", "10.96.0.1", &[80]);
    service.ports[0].policy = Arc::new(PortPolicy {
        backend: BackendPolicy {
            balancing,
            locality: LocalityPreference::Failover,
            slow_start: Some(Duration::from_secs(10)),
            outliers: Some(OutlierDetection {
                consecutive_5xx: Some(1),
                consecutive_gateway: None,
                success_rate: None,
                interval: Duration::from_secs(3600),
                base_ejection: Duration::from_secs(3600),
                max_ejection: Duration::from_secs(3600),
                max_ejected_percent: 50,
            }),
            ..BackendPolicy::default()
        },
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
        weight: n % 3 + 1,
        locality: Locality::new("eu", format!("eu-{}", n % 3)),
    };
    let name = service.name.clone();
    let set = EndpointSet {
        service: name.clone(),
        endpoints: (0..100).map(endpoint).collect(),
    };
    let changes = vec![Change::Service(service), Change::Endpoints(set)];
    let snapshot = Arc::new(Snapshot::default().apply(Diff::from(changes)));
    let backends = Backends::new();
    backends.refresh(&snapshot, &Touched::default());
    let backend = backends.bind(&name, 80);
    for view in backend.endpoints().iter().step_by(4) {
        view.state.begin().finish(Outcome::Status(500), Duration::ZERO);
    }
    (backends, backend)
}

#[test]
fn choosing_allocates_nothing() {
    let here = Locality::new("eu", "eu-1");
    for way in ways() {
        let (_world, backend) = backend(way.clone());
        let mut request: u64 = 0;
        let allocated = allocations(|| {
            // A thousand, so that the ways around ejected endpoints are among them.
            for _ in 0..1000 {
                request += 1;
                let pick = Pick {
                    asked: "10.96.0.1:80".parse().unwrap(),
                    locality: &here,
                    hash: Some(request.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                    affinity: None,
                    tried: &[],
                    demand: Demand::Request,
                };
                let chosen = backend.choose(&pick).unwrap();
                chosen
                    .begin()
                    .finish(Outcome::Status(200), Duration::from_millis(1));
            }
        });
        assert_eq!(allocated, 0, "{way:?}");
    }
}

#[test]
fn admission_and_limits_allocate_nothing() {
    let (_world, backend) = backend(Balancing::LeastRequest);
    let endpoint = Arc::clone(&backend.endpoints()[1].state);
    let client = fixture::identity("a", "web");
    let limits = [RateLimitKey::Service, RateLimitKey::ClientIdentity].map(|key| {
        RateLimiter::new(&RateLimit {
            requests: 10,
            interval: Duration::from_secs(1),
            burst: 10,
            key,
        })
    });
    let allocated = allocations(|| {
        let request = backend.admit_request();
        let pending = backend.admit_pending();
        let connection = backend.admit_connection(&endpoint);
        backend.admit_retry();
        let limited = RateLimiter::check_all(limits.iter(), &client);
        drop((request, pending, connection, limited));
    });
    assert_eq!(allocated, 0);
}

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::join_all;
use mesh_model::{BackendPolicy, Limits};
use tokio::time::timeout;

use super::super::world::{World, endpoints, service};
use super::*;

fn limited(limits: Limits) -> World {
    let policy = BackendPolicy {
        limits,
        ..BackendPolicy::default()
    };
    World::new(policy, endpoints(2))
}

fn state(world: &World, n: usize) -> Arc<EndpointState> {
    Arc::clone(&world.backend.endpoints()[n].state)
}

#[test]
fn requests_beyond_the_limit_are_refused_until_one_ends() {
    let world = limited(Limits {
        max_requests: Some(2),
        ..Limits::default()
    });
    let first = world.backend.admit_request().unwrap();
    let _second = world.backend.admit_request().unwrap();
    let refused = world.backend.admit_request().unwrap_err();
    assert_eq!((refused.limit, refused.most), (Limit::Requests, 2));
    assert_eq!(
        refused.to_string(),
        "circuit breaking: maxRequests is 2, and so many there are"
    );
    drop(first);
    assert!(world.backend.admit_request().is_ok());
    assert_eq!(world.backend.requests(), 1);
}

#[test]
fn threads_together_never_exceed_a_limit() {
    let world = limited(Limits {
        max_requests: Some(5),
        ..Limits::default()
    });
    let most = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    if let Ok(_permit) = world.backend.admit_request() {
                        most.fetch_max(world.backend.requests(), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!((1..=5).contains(&most.into_inner()));
    assert_eq!(world.backend.requests(), 0);
}

#[test]
fn connections_are_counted_by_backend_and_endpoint() {
    let world = limited(Limits {
        max_connections: Some(3),
        endpoint_max_connections: Some(2),
        ..Limits::default()
    });
    let (one, other) = (state(&world, 0), state(&world, 1));
    let mut held = vec![
        world.backend.admit_connection(&one).unwrap(),
        world.backend.admit_connection(&one).unwrap(),
    ];
    let refused = world.backend.admit_connection(&one).unwrap_err();
    assert_eq!(refused.limit, Limit::EndpointConnections);
    held.push(world.backend.admit_connection(&other).unwrap());
    let refused = world.backend.admit_connection(&other).unwrap_err();
    assert_eq!(refused.limit, Limit::Connections);
    assert_eq!(
        (one.connections(), other.connections()),
        (2, 1),
        "a refusal counts nothing"
    );
    held.clear();
    assert_eq!((one.connections(), world.backend.connections()), (0, 0));
}

#[test]
fn so_many_may_wait_and_no_more() {
    let world = limited(Limits {
        max_pending: Some(1),
        ..Limits::default()
    });
    let waiting = world.backend.admit_pending().unwrap();
    assert_eq!(world.backend.admit_pending().unwrap_err().limit, Limit::Pending);
    drop(waiting);
    assert!(world.backend.admit_pending().is_ok());
    let unlimited = limited(Limits::default());
    let waiting: Vec<_> = (0..MAX_PENDING)
        .map(|_| unlimited.backend.admit_pending().unwrap())
        .collect();
    assert!(unlimited.backend.admit_pending().is_err());
    drop(waiting);
}

#[tokio::test]
async fn who_waits_gets_the_connection_that_is_given_up_in_order_of_arrival() {
    let world = limited(Limits {
        max_connections: Some(1),
        ..Limits::default()
    });
    let endpoint = state(&world, 0);
    let held = world.backend.admit_connection(&endpoint).unwrap();
    let (first, second) = (
        world.backend.admit_pending().unwrap(),
        world.backend.admit_pending().unwrap(),
    );
    let mut first = Box::pin(first.connection(&endpoint));
    let mut second = Box::pin(second.connection(&endpoint));
    assert!(first.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());
    drop(held);
    assert!(
        world.backend.admit_connection(&endpoint).is_err(),
        "those who wait go first"
    );
    assert!(second.as_mut().now_or_never().is_none());
    let permit = first.await;
    assert!(second.as_mut().now_or_never().is_none());
    drop(permit);
    second.await;
}

#[tokio::test]
async fn who_gives_up_waiting_passes_the_place_on() {
    let world = limited(Limits {
        max_connections: Some(1),
        ..Limits::default()
    });
    let endpoint = state(&world, 0);
    let held = world.backend.admit_connection(&endpoint).unwrap();
    let (first, second) = (
        world.backend.admit_pending().unwrap(),
        world.backend.admit_pending().unwrap(),
    );
    let mut first = Box::pin(first.connection(&endpoint));
    let mut second = Box::pin(second.connection(&endpoint));
    assert!(first.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());
    drop(held);
    drop(first);
    timeout(Duration::from_secs(5), second).await.unwrap();
}

#[tokio::test]
async fn a_place_that_one_cannot_use_goes_to_another() {
    let world = limited(Limits {
        max_connections: Some(2),
        endpoint_max_connections: Some(1),
        ..Limits::default()
    });
    let (one, other) = (state(&world, 0), state(&world, 1));
    let _held = world.backend.admit_connection(&one).unwrap();
    let held_other = world.backend.admit_connection(&other).unwrap();
    let (first, second) = (
        world.backend.admit_pending().unwrap(),
        world.backend.admit_pending().unwrap(),
    );
    // Waits at the endpoint's gate, the other one at the endpoint's of its own.
    let mut first = Box::pin(first.connection(&one));
    let mut second = Box::pin(second.connection(&other));
    assert!(first.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());
    drop(held_other);
    assert!(first.as_mut().now_or_never().is_none());
    timeout(Duration::from_secs(5), second).await.unwrap();
}

#[tokio::test]
async fn a_higher_limit_lets_in_all_who_wait() {
    let mut world = limited(Limits {
        max_connections: Some(1),
        ..Limits::default()
    });
    let endpoint = state(&world, 0);
    let _held = world.backend.admit_connection(&endpoint).unwrap();
    let pending: Vec<_> = (0..5).map(|_| world.backend.admit_pending().unwrap()).collect();
    let mut waiting = Box::pin(join_all(
        pending.iter().map(|permit| permit.connection(&endpoint)),
    ));
    assert!(waiting.as_mut().now_or_never().is_none());
    world.apply(vec![service(BackendPolicy::default())]);
    let permits = timeout(Duration::from_secs(5), waiting).await.unwrap();
    assert_eq!(permits.len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_load_nobody_waits_for_ever_and_no_limit_is_exceeded() {
    let world = limited(Limits {
        max_connections: Some(3),
        endpoint_max_connections: Some(2),
        ..Limits::default()
    });
    let world = Arc::new(world);
    let most = Arc::new(AtomicU32::new(0));
    let tasks = (0..64).map(|n| {
        let (world, most) = (Arc::clone(&world), Arc::clone(&most));
        async move {
            let endpoint = state(&world, n % 2);
            for round in 0..50 {
                let pending = world.backend.admit_pending().unwrap();
                // Some lose patience.
                let patience = if (round + n) % 7 == 0 {
                    Duration::ZERO
                } else {
                    Duration::from_secs(20)
                };
                let permit = timeout(patience, pending.connection(&endpoint)).await;
                assert!(permit.is_ok() || patience.is_zero(), "waited for ever");
                if let Ok(_permit) = permit {
                    assert!(
                        endpoint.connections() <= 3,
                        "at its limit, and one that is about to be refused"
                    );
                    most.fetch_max(world.backend.connections(), Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            }
        }
    });
    let tasks: Vec<_> = tasks
        .map(|task| tokio::task::JoinSet::from_iter([task]))
        .collect();
    join_all(tasks.into_iter().map(tokio::task::JoinSet::join_all)).await;
    assert!(most.load(Ordering::Relaxed) <= 3);
    assert_eq!(world.backend.connections(), 0);
}

use std::time::{Duration, Instant};

use futures::FutureExt as _;
use mesh_model::{BackendPolicy, Locality, Workload, fixture};

use super::super::world::{World, endpoint, endpoints, name, pick, service, set};
use super::super::{Unavailable, WorkloadRef};
use super::*;

fn described(n: usize, workload: &str) -> mesh_model::Endpoint {
    mesh_model::Endpoint {
        workload: Some(workload.parse().unwrap()),
        ..endpoint(n)
    }
}

fn workload(name: &str) -> Workload {
    fixture::workload(name, "node-b", "10.0.0.0")
}

#[test]
fn a_backend_is_one_value_as_long_as_somebody_holds_it() {
    let world = World::new(BackendPolicy::default(), endpoints(1));
    assert!(Arc::ptr_eq(&world.backend, &world.backends.bind(&name(), 80)));
    assert!(!Arc::ptr_eq(&world.backend, &world.backends.bind(&name(), 81)));
    assert_eq!(world.backend.name(), (&name(), 80));
    assert!(world.backend.exists());
    assert!(!world.backends.bind(&name(), 81).exists());
}

#[test]
fn what_is_counted_of_an_endpoint_outlives_a_change() {
    let mut world = World::new(BackendPolicy::default(), endpoints(2));
    let nowhere = Locality::default();
    let first = world.backend.choose(&pick(&[], &nowhere)).unwrap();
    let request = first.begin();
    world.apply(vec![set(endpoints(3))]);
    let same = world
        .backend
        .endpoints()
        .into_iter()
        .find(|view| view.state.address == first.address)
        .unwrap();
    assert!(Arc::ptr_eq(&same.state, &first));
    assert_eq!(same.state.in_flight(), 1);
    drop(request);
    assert_eq!(same.state.in_flight(), 0);
}

#[test]
fn an_endpoint_that_leaves_says_so_and_one_that_is_not_ready_does_not() {
    let mut world = World::new(BackendPolicy::default(), endpoints(2));
    let views = world.backend.endpoints();
    let (stays, leaves) = (&views[0].state, &views[1].state);
    let mut not_ready = endpoint(0);
    not_ready.is_ready = false;
    world.apply(vec![set(vec![not_ready])]);
    assert!(leaves.gone().now_or_never().is_some());
    assert!(stays.gone().now_or_never().is_none());
    let nowhere = Locality::default();
    assert_eq!(
        world.backend.choose(&pick(&[], &nowhere)).unwrap_err(),
        Unavailable::NoEndpoints
    );
    world.apply(vec![Change::ServiceRemoved(name())]);
    assert!(stays.gone().now_or_never().is_some());
    assert!(!world.backend.exists());
}

#[test]
fn endpoints_have_gone_when_nobody_uses_the_backend() {
    let mut world = World::new(BackendPolicy::default(), endpoints(1));
    let state = Arc::clone(&world.backend.endpoints()[0].state);
    let other = world.backends.bind(&"nobody/asks".parse().unwrap(), 2);
    drop(std::mem::replace(&mut world.backend, other));
    assert!(state.gone().now_or_never().is_some());
}

#[test]
fn another_workload_at_an_address_is_another_endpoint() {
    let mut world = World::new(BackendPolicy::default(), vec![described(0, "a/one")]);
    world.apply(vec![Change::Workload(workload("a/one"))]);
    let one = Arc::clone(&world.backend.endpoints()[0].state);
    assert!(matches!(&one.workload, WorkloadRef::Known(w) if w.name.name() == "one"));
    // What does not matter to a connection leaves it as it is …
    let mut relabelled = workload("a/one");
    relabelled.labels.insert("app".into(), "x".into());
    world.apply(vec![Change::Workload(relabelled)]);
    assert!(Arc::ptr_eq(&one, &world.backend.endpoints()[0].state));
    // … another identity does not.
    let mut other = workload("a/one");
    other.identity = fixture::identity("a", "other");
    world.apply(vec![Change::Workload(other)]);
    assert!(one.gone().now_or_never().is_some());
}

#[test]
fn an_endpoint_whose_workload_is_not_described_is_never_chosen_and_named() {
    let mut world = World::new(BackendPolicy::default(), vec![described(0, "a/one"), endpoint(1)]);
    let nowhere = Locality::default();
    for _ in 0..100 {
        let chosen = world.backend.choose(&pick(&[], &nowhere)).unwrap();
        assert_eq!(chosen.workload, WorkloadRef::None);
    }
    world.apply(vec![set(vec![described(0, "a/one")])]);
    let refused = world.backend.choose(&pick(&[], &nowhere)).unwrap_err();
    assert_eq!(refused, Unavailable::Undescribed("a/one".parse().unwrap()));
    assert!(refused.to_string().contains("a/one"));
    world.apply(vec![Change::Workload(workload("a/one"))]);
    let chosen = world.backend.choose(&pick(&[], &nowhere)).unwrap();
    assert!(chosen.workload.known().is_some());
    world.apply(vec![Change::WorkloadRemoved("a/one".parse().unwrap())]);
    assert!(world.backend.choose(&pick(&[], &nowhere)).is_err());
}

#[test]
fn an_endpoint_that_names_no_workload_is_the_one_at_its_address() {
    let mut world = World::new(BackendPolicy::default(), endpoints(1));
    assert_eq!(world.backend.endpoints()[0].state.workload, WorkloadRef::None);
    world.apply(vec![Change::Workload(workload("a/one"))]);
    let state = Arc::clone(&world.backend.endpoints()[0].state);
    assert!(state.workload.known().is_some());
    let mut moved = workload("a/one");
    moved.addresses = vec!["10.9.9.9".parse().unwrap()];
    world.apply(vec![Change::Workload(moved)]);
    assert_eq!(world.backend.endpoints()[0].state.workload, WorkloadRef::None);
}

#[test]
fn a_policy_is_in_force_with_the_next_snapshot() {
    let mut world = World::new(BackendPolicy::default(), endpoints(1));
    let permit = world.backend.admit_request().unwrap();
    let mut policy = BackendPolicy::default();
    policy.limits.max_requests = Some(1);
    world.apply(vec![service(policy)]);
    assert!(world.backend.admit_request().is_err());
    drop(permit);
    assert!(world.backend.admit_request().is_ok());
}

#[test]
fn entries_that_nobody_uses_are_thrown_away() {
    let world = World::new(BackendPolicy::default(), endpoints(1));
    for port in 1_000..2_000 {
        drop(world.backends.bind(&name(), port));
    }
    let registry = world.backends.registry.lock();
    assert!(registry.backends.len() <= FEW + 1, "{}", registry.backends.len());
    let dependents: usize = registry.dependents.values().map(BTreeSet::len).sum();
    assert!(dependents <= FEW + 1, "{dependents}");
}

#[test]
fn a_change_costs_what_it_changes_and_not_the_world() {
    const WORLD: usize = 50_000;
    let mut world = World::unbound();
    let crowd = |n: usize| {
        let [.., a, b, c] = u32::try_from(n).unwrap().to_be_bytes();
        let address = std::net::Ipv4Addr::new(11, a, b, c).to_string();
        Change::Workload(fixture::workload(&format!("crowd/w-{n}"), "node-c", &address))
    };
    world.apply((0..WORLD).map(crowd).collect());
    world.apply(vec![service(BackendPolicy::default()), set(endpoints(10))]);
    world.backend = world.backends.bind(&name(), 80);
    // What touches no backend rebuilds none, however much it is.
    let before = Arc::clone(&world.backend.members());
    let everything: Vec<Change> = (0..WORLD).map(crowd).collect();
    let touched = Touched::by(&Diff::from(everything));
    let start = Instant::now();
    world.backends.refresh(&world.snapshot, &touched);
    let elapsed = start.elapsed();
    assert!(Arc::ptr_eq(&before, &world.backend.members()));
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
    // And a change of one endpoint looks at that Service alone.
    let start = Instant::now();
    for n in 0..100 {
        world.apply(vec![set(endpoints(10 + n % 2))]);
    }
    let elapsed = start.elapsed();
    assert!(elapsed < Duration::from_secs(1), "{elapsed:?}");
}

#[test]
fn many_threads_bind_while_the_world_changes_and_see_the_last_one() {
    let mut world = World::new(BackendPolicy::default(), endpoints(1));
    let stop = std::sync::atomic::AtomicBool::new(false);
    let backends = std::mem::take(&mut world.backends);
    std::thread::scope(|scope| {
        for port in 0..4 {
            let (backends, stop) = (&backends, &stop);
            scope.spawn(move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let backend = backends.bind(&name(), 80 + port % 2);
                    drop(backend.endpoints());
                }
            });
        }
        for n in 0..500 {
            let diff = Diff::from(vec![service(BackendPolicy::default()), set(endpoints(n % 5))]);
            let touched = Touched::by(&diff);
            world.snapshot = Arc::new(world.snapshot.apply(diff));
            backends.refresh(&world.snapshot, &touched);
            assert_eq!(backends.bind(&name(), 80).endpoints().len(), n % 5);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

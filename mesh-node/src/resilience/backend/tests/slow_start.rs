//! New endpoints warm up.

use mesh_model::{BackendPolicy, Balancing};

use super::super::*;
use super::{DRAWS, count};
use crate::resilience::world::{World, balancing, endpoints, number, pick, set};

#[test]
fn a_new_endpoint_s_share_grows() {
    for way in [
        Balancing::LeastRequest,
        Balancing::PeakEwma,
        Balancing::RoundRobin,
        Balancing::Random,
    ] {
        let policy = BackendPolicy {
            slow_start: Some(Duration::from_secs(100)),
            ..balancing(way.clone())
        };
        let mut world = World::new(policy, endpoints(4));
        world.apply(vec![set(endpoints(5))]);
        let began = world.backend.endpoints()[4].state.ready_since().unwrap();
        let share = |after: u64| {
            let nowhere = Locality::default();
            let now = began.after(Duration::from_secs(after));
            let is_new = |_: &usize| {
                number(
                    world
                        .backend
                        .choose_at(&pick(&[], &nowhere), now)
                        .unwrap()
                        .address,
                ) == 4
            };
            (0..DRAWS).filter(is_new).count()
        };
        // A tenth of a share of one by 4.1, then half of one by 4.5, then a whole one by 5.
        let (cold, half, warm) = (share(0), share(50), share(100));
        assert!((300..700).contains(&cold), "{way:?}: {cold}");
        assert!((1_800..2_700).contains(&half), "{way:?}: {half}");
        assert!((3_600..4_400).contains(&warm), "{way:?}: {warm}");
    }
}

#[test]
fn what_was_there_first_is_warm_and_what_becomes_ready_again_is_not() {
    let policy = BackendPolicy {
        slow_start: Some(Duration::from_secs(100)),
        ..balancing(Balancing::Random)
    };
    let mut all = endpoints(2);
    let mut world = World::new(policy, all.clone());
    assert!(world.backend.endpoints()[1].state.ready_since().is_none());
    all[1].is_ready = false;
    world.apply(vec![set(all.clone())]);
    all[1].is_ready = true;
    world.apply(vec![set(all)]);
    assert!(world.backend.endpoints()[1].state.ready_since().is_some());
    let counts = count(&world, &Locality::default(), drop);
    assert!(counts[&1] < 2_500, "{counts:?}");
}

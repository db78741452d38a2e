mod nearby;
mod property;
mod slow_start;

use std::collections::BTreeMap;

use mesh_model::{BackendPolicy, Balancing, Endpoint, HashKey};

use super::super::InFlight;
use super::super::admission::Limit;
use super::super::endpoint::Outcome;
use super::super::hash::stable_hash;
use super::super::world::{World, balancing, endpoint, endpoints, number, pick, set};
use super::*;

const DRAWS: usize = 20_000;

fn at(millis: u64) -> Moment {
    Moment::FIRST.after(Duration::from_millis(millis))
}

fn weighted(weights: &[u32]) -> Vec<Endpoint> {
    let with = |(n, weight): (usize, &u32)| Endpoint {
        weight: *weight,
        ..endpoint(n)
    };
    weights.iter().enumerate().map(with).collect()
}

fn ring() -> Balancing {
    Balancing::RingHash {
        key: HashKey::SourceAddress,
        min_size: 1_024,
    }
}

fn maglev() -> Balancing {
    Balancing::Maglev {
        key: HashKey::SourceAddress,
        table_size: 1_009,
    }
}

fn all_balancings() -> [Balancing; 6] {
    [
        Balancing::LeastRequest,
        Balancing::PeakEwma,
        Balancing::RoundRobin,
        Balancing::Random,
        ring(),
        maglev(),
    ]
}

/// How often each endpoint is chosen, with what `use_it` does to it.
fn count(
    world: &World,
    locality: &Locality,
    mut use_it: impl FnMut(Arc<EndpointState>),
) -> BTreeMap<usize, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..DRAWS {
        let chosen = world.backend.choose(&pick(&[], locality)).unwrap();
        *counts.entry(number(chosen.address)).or_default() += 1;
        use_it(chosen);
    }
    counts
}

#[track_caller]
fn assert_shares(counts: &BTreeMap<usize, usize>, weights: &[u32]) {
    let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
    for (n, weight) in weights.iter().enumerate() {
        let count = f64::from(u32::try_from(counts.get(&n).copied().unwrap_or_default()).unwrap());
        let share = f64::from(*weight) / total;
        let expected = 20_000.0 * share;
        // Five standard deviations of a binomial; less random ways are closer.
        let margin = 5.0 * (expected * (1.0 - share)).sqrt() + 1.0;
        assert!(
            (count - expected).abs() <= margin,
            "{n}: {count} of {expected}: {counts:?}"
        );
    }
}

#[test]
fn equal_endpoints_get_equal_shares() {
    for way in all_balancings() {
        let world = World::new(balancing(way), endpoints(7));
        assert_shares(&count(&world, &Locality::default(), drop), &[1; 7]);
    }
}

#[test]
fn weights_are_shares() {
    for way in all_balancings() {
        let weights = [1, 3, 6, 10];
        let world = World::new(balancing(way), weighted(&weights));
        assert_shares(&count(&world, &Locality::default(), drop), &weights);
    }
}

#[test]
fn round_robin_takes_turns_and_spreads_the_heavy_ones() {
    let world = World::new(balancing(Balancing::RoundRobin), endpoints(5));
    let order: Vec<usize> = {
        let nowhere = Locality::default();
        let next = |_| number(world.backend.choose(&pick(&[], &nowhere)).unwrap().address);
        (0..50).map(next).collect()
    };
    for window in order.windows(5) {
        let mut sorted = window.to_vec();
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2, 3, 4]);
    }
    let world = World::new(balancing(Balancing::RoundRobin), weighted(&[1, 4, 1]));
    let nowhere = Locality::default();
    let heavy: Vec<bool> = (0..600)
        .map(|_| number(world.backend.choose(&pick(&[], &nowhere)).unwrap().address) == 1)
        .collect();
    let runs = heavy
        .split(|is_heavy| !is_heavy)
        .map(<[bool]>::len)
        .max()
        .unwrap();
    assert!(runs <= 4, "{runs} in a row for a share of two thirds");
    assert_eq!(heavy.iter().filter(|is_heavy| **is_heavy).count(), 400);
}

#[test]
fn least_request_evens_out_what_is_under_way() {
    let world = World::new(balancing(Balancing::LeastRequest), endpoints(10));
    let mut under_way: Vec<InFlight> = Vec::new();
    let nowhere = Locality::default();
    for _ in 0..1_000 {
        under_way.push(world.backend.choose(&pick(&[], &nowhere)).unwrap().begin());
    }
    let loads: Vec<u32> = world
        .backend
        .endpoints()
        .iter()
        .map(|view| view.state.in_flight())
        .collect();
    let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
    // Random choices would be 60 apart.
    assert!(most - least <= 8, "{loads:?}");
}

#[test]
fn a_weight_is_a_share_of_what_is_under_way() {
    for way in [Balancing::LeastRequest, Balancing::PeakEwma] {
        let world = World::new(balancing(way), weighted(&[1, 1, 2]));
        let nowhere = Locality::default();
        let choose = |_| world.backend.choose(&pick(&[], &nowhere)).unwrap().begin();
        let under_way: Vec<InFlight> = (0..1_000).map(choose).collect();
        let heavy = world.backend.endpoints()[2].state.in_flight();
        assert!((480..520).contains(&heavy), "{heavy} of {}", under_way.len());
    }
}

#[test]
fn least_request_avoids_the_slow_one() {
    // Each step one request begins everywhere it is sent, and all but the slow endpoint's end.
    let world = World::new(balancing(Balancing::LeastRequest), endpoints(5));
    let mut stuck = Vec::new();
    let counts = count(&world, &Locality::default(), |chosen| {
        if number(chosen.address) == 0 && stuck.len() < 50 {
            stuck.push(chosen.begin());
        }
    });
    assert!(counts[&0] < 60, "{counts:?}");
}

#[test]
fn peak_ewma_prefers_the_fast_and_avoids_what_fails_fast() {
    let world = World::new(balancing(Balancing::PeakEwma), endpoints(4));
    let counts = count(&world, &Locality::default(), |chosen| {
        let (outcome, latency) = match number(chosen.address) {
            0 => (Outcome::Status(200), 50),
            1 => (Outcome::Status(503), 0),
            _ => (Outcome::Status(200), 5),
        };
        chosen.begin().finish(outcome, Duration::from_millis(latency));
    });
    assert!(counts[&1] < 100, "fails fast: {counts:?}");
    // Slower than all it is compared with, but for the one that fails.
    assert!(counts[&0] < 4_500, "slow: {counts:?}");
    assert!(counts[&2] > 6_000 && counts[&3] > 6_000, "{counts:?}");
}

#[test]
fn an_endpoint_that_takes_no_connection_is_passed_over_for_a_while() {
    let world = World::new(balancing(Balancing::Random), endpoints(3));
    let state = Arc::clone(&world.backend.endpoints()[0].state);
    let refused = |now| {
        state
            .begin_at(|| now)
            .finish_at(Outcome::ConnectFailed, Duration::ZERO, now);
    };
    refused(at(0));
    let nowhere = Locality::default();
    let is_chosen = |tried: &[Arc<EndpointState>], now| {
        let choose = |_| world.backend.choose_at(&pick(tried, &nowhere), now).unwrap();
        (0..200).any(|n| Arc::ptr_eq(&choose(n), &state))
    };
    assert!(!is_chosen(&[], at(40)));
    // When the others were tried, it is better than none, and than one of them again.
    let others: Vec<_> = world
        .backend
        .endpoints()
        .into_iter()
        .skip(1)
        .map(|view| view.state)
        .collect();
    assert!(is_chosen(&others, at(40)));
    assert!(is_chosen(&[], at(150)));
    let asks = state.begin_at(|| at(150));
    assert!(!is_chosen(&[], at(151)), "somebody asks it already");
    drop(asks);
    state
        .begin_at(|| at(400))
        .finish_at(Outcome::Status(200), Duration::ZERO, at(400));
    assert!(is_chosen(&[], at(401)));
}

#[test]
fn retry_after_says_for_how_long_a_failure_counts() {
    let world = World::new(balancing(Balancing::PeakEwma), endpoints(2));
    let states = world.backend.endpoints();
    let (patient, plain) = (&states[0].state, &states[1].state);
    let mut request = patient.begin();
    request.retry_after(Duration::from_secs(100_000));
    request.finish_at(Outcome::Status(429), Duration::ZERO, at(0));
    plain.begin().finish_at(Outcome::Grpc(14), Duration::ZERO, at(0));
    assert!((patient.latency.seconds(at(0)) - 300.0).abs() < 0.1);
    assert!((plain.latency.seconds(at(0)) - 5.0).abs() < 0.1);
}

#[test]
fn a_key_leads_to_one_endpoint_and_hardly_moves_as_others_come_and_go() {
    for way in [ring(), maglev()] {
        let mut world = World::new(balancing(way), endpoints(10));
        let nowhere = Locality::default();
        let of = |world: &World, user: u32| {
            let pick = Pick {
                hash: Some(stable_hash(&user.to_be_bytes())),
                ..pick(&[], &nowhere)
            };
            number(world.backend.choose(&pick).unwrap().address)
        };
        let before: Vec<usize> = (0..1_000).map(|user| of(&world, user)).collect();
        assert_eq!(
            before,
            (0..1_000).map(|user| of(&world, user)).collect::<Vec<_>>()
        );
        world.apply(vec![set(endpoints(9))]);
        let moved = (0..1_000)
            .zip(&before)
            .filter(|(user, was)| **was != 9 && of(&world, *user) != **was)
            .count();
        assert!(moved < 60, "{moved} of those whose endpoint stayed");
        world.apply(vec![set(endpoints(10))]);
        let after: Vec<usize> = (0..1_000).map(|user| of(&world, user)).collect();
        assert_eq!(before, after);
    }
}

#[test]
fn a_key_whose_endpoint_takes_nothing_goes_to_one_other_and_comes_back() {
    for way in [ring(), maglev()] {
        let world = World::new(balancing(way), endpoints(10));
        let nowhere = Locality::default();
        let keyed = |tried| Pick {
            hash: Some(77),
            ..pick(tried, &nowhere)
        };
        let own = world.backend.choose(&keyed(&[])).unwrap();
        let tried = [Arc::clone(&own)];
        let other = world.backend.choose(&keyed(&tried)).unwrap();
        assert!(!Arc::ptr_eq(&own, &other));
        for _ in 0..100 {
            assert!(Arc::ptr_eq(
                &other,
                &world.backend.choose(&keyed(&tried)).unwrap()
            ));
            assert!(Arc::ptr_eq(&own, &world.backend.choose(&keyed(&[])).unwrap()));
        }
    }
}

#[test]
fn affinity_leads_back_even_to_a_drained_endpoint_until_it_is_not_ready() {
    let mut drained = endpoints(5);
    drained[3].weight = 0;
    let mut world = World::new(BackendPolicy::default(), drained.clone());
    let own = Arc::clone(&world.backend.endpoints()[3].state);
    let nowhere = Locality::default();
    let remembered = Pick {
        affinity: Some(own.affinity()),
        ..pick(&[], &nowhere)
    };
    for _ in 0..100 {
        assert!(Arc::ptr_eq(&own, &world.backend.choose(&remembered).unwrap()));
    }
    let tried = [Arc::clone(&own)];
    let again = Pick {
        tried: &tried,
        ..remembered
    };
    assert!(!Arc::ptr_eq(&own, &world.backend.choose(&again).unwrap()));
    drained[3].is_ready = false;
    world.apply(vec![set(drained)]);
    assert!(!Arc::ptr_eq(&own, &world.backend.choose(&remembered).unwrap()));
}

#[test]
fn an_endpoint_without_weight_is_the_last_resort() {
    let world = World::new(BackendPolicy::default(), weighted(&[1, 0, 1]));
    let counts = count(&world, &Locality::default(), drop);
    assert!(!counts.contains_key(&1), "{counts:?}");
    let states: Vec<_> = world
        .backend
        .endpoints()
        .into_iter()
        .map(|view| view.state)
        .collect();
    let tried = [Arc::clone(&states[0]), Arc::clone(&states[2])];
    let nowhere = Locality::default();
    let resort = world.backend.choose(&pick(&tried, &nowhere)).unwrap();
    assert_eq!(number(resort.address), 1);
    assert_eq!(
        world.backend.choose(&pick(&states, &nowhere)).unwrap_err(),
        Unavailable::Tried
    );
}

#[test]
fn keeps_to_the_family_while_it_has_endpoints() {
    let mut six = endpoint(1);
    six.address = "fd00::1".parse().unwrap();
    let world = World::new(BackendPolicy::default(), vec![endpoint(0), six]);
    let nowhere = Locality::default();
    for _ in 0..100 {
        assert!(
            world
                .backend
                .choose(&pick(&[], &nowhere))
                .unwrap()
                .address
                .is_ipv4()
        );
        let six = Pick {
            asked: "[fd00:96::1]:80".parse().unwrap(),
            ..pick(&[], &nowhere)
        };
        assert!(world.backend.choose(&six).unwrap().address.is_ipv6());
    }
    let tried = [world.backend.choose(&pick(&[], &nowhere)).unwrap()];
    assert!(
        world
            .backend
            .choose(&pick(&tried, &nowhere))
            .unwrap()
            .address
            .is_ipv6()
    );
}

#[test]
fn another_address_of_a_workload_does_not_double_its_limit() {
    let mut six = endpoint(1);
    six.address = "fd00::1".parse().unwrap();
    let mut policy = BackendPolicy::default();
    policy.limits.endpoint_max_requests = Some(1);
    let world = World::new(policy, vec![endpoint(0), six]);
    let nowhere = Locality::default();
    let _under_way = world.backend.choose(&pick(&[], &nowhere)).unwrap().begin();
    let refused = world.backend.choose(&pick(&[], &nowhere)).unwrap_err();
    assert!(matches!(refused, Unavailable::Overflow(_)), "{refused}");
}

#[test]
fn an_endpoint_at_its_limit_is_passed_over_and_all_of_them_are_an_overflow() {
    let mut policy = BackendPolicy::default();
    policy.limits.endpoint_max_requests = Some(2);
    let world = World::new(policy, endpoints(3));
    let nowhere = Locality::default();
    let mut under_way: Vec<InFlight> = (0..6)
        .map(|_| world.backend.choose(&pick(&[], &nowhere)).unwrap().begin())
        .collect();
    assert!(
        world
            .backend
            .endpoints()
            .iter()
            .all(|view| view.state.in_flight() == 2)
    );
    let overflow = Overflow {
        limit: Limit::EndpointRequests,
        most: 2,
    };
    assert_eq!(
        world.backend.choose(&pick(&[], &nowhere)).unwrap_err(),
        Unavailable::Overflow(overflow)
    );
    // Connections of their own are counted apart.
    let connection = Pick {
        demand: Demand::Connection,
        ..pick(&[], &nowhere)
    };
    assert!(world.backend.choose(&connection).is_ok());
    under_way.pop();
    assert!(world.backend.choose(&pick(&[], &nowhere)).is_ok());
}

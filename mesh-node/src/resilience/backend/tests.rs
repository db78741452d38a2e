use std::collections::BTreeMap;

use mesh_model::{BackendPolicy, Balancing, Endpoint, HashKey, LocalityPreference, OutlierDetection};
use proptest::prelude::*;

use super::super::InFlight;
use super::super::admission::Limit;
use super::super::endpoint::Outcome;
use super::super::hash::stable_hash;
use super::super::world::{World, balancing, endpoint, endpoints, locality, number, pick, set};
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

fn placed(places: &[(&str, &str, bool)]) -> Vec<Endpoint> {
    let with = |(n, (region, zone, is_ready)): (usize, &(&str, &str, bool))| Endpoint {
        locality: locality(region, zone),
        is_ready: *is_ready,
        ..endpoint(n)
    };
    places.iter().enumerate().map(with).collect()
}

fn nearby() -> BackendPolicy {
    BackendPolicy {
        locality: LocalityPreference::Failover,
        ..BackendPolicy::default()
    }
}

#[test]
fn the_zone_goes_first_then_the_region_then_all() {
    let everywhere = [
        ("eu", "a", true),
        ("eu", "a", true),
        ("eu", "b", true),
        ("us", "a", true),
    ];
    let here = locality("eu", "a");
    let world = World::new(nearby(), placed(&everywhere));
    let counts = count(&world, &here, drop);
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [0, 1]);
    // A zone of the same name in another region is another zone.
    let counts = count(&world, &locality("us", "a"), drop);
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [3]);
    // Nothing in the zone: the region. Nothing in the region, or not known where the client is: all.
    let counts = count(&world, &locality("eu", "c"), drop);
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(count(&world, &locality("asia", "a"), drop).len(), 4);
    assert_eq!(count(&world, &Locality::default(), drop).len(), 4);
}

#[test]
fn a_zone_that_is_half_down_bears_seven_tenths() {
    // One of two is ready: 0.5 × 1.4 = 0.7 stays in the zone; the region, with 2 of 3, takes the rest.
    let places = [
        ("eu", "a", true),
        ("eu", "a", false),
        ("eu", "b", true),
        ("us", "a", true),
    ];
    let world = World::new(nearby(), placed(&places));
    let counts = count(&world, &locality("eu", "a"), drop);
    // The region is the zone too: half of its part comes back.
    assert!((16_700..17_300).contains(&counts[&0]), "{counts:?}");
    assert!((2_700..3_300).contains(&counts[&2]), "{counts:?}");
    assert!(!counts.contains_key(&3), "{counts:?}");
}

#[test]
fn ejected_endpoints_move_their_zone_s_share_on() {
    let policy = BackendPolicy {
        outliers: Some(OutlierDetection {
            consecutive_5xx: Some(1),
            consecutive_gateway: None,
            success_rate: None,
            interval: Duration::from_secs(10),
            base_ejection: Duration::from_secs(30),
            max_ejection: Duration::from_secs(300),
            max_ejected_percent: 100,
        }),
        ..nearby()
    };
    let places = [("eu", "a", true), ("eu", "b", true), ("us", "a", true)];
    let world = World::new(policy, placed(&places));
    let here = locality("eu", "a");
    world.backend.endpoints()[0]
        .state
        .begin()
        .finish(Outcome::Status(500), Duration::ZERO);
    // A half of the region is left, which bears 0.7; the rest goes anywhere.
    let counts = count(&world, &here, drop);
    assert!(!counts.contains_key(&0), "{counts:?}");
    assert!((16_700..17_300).contains(&counts[&1]), "{counts:?}");
}

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

/// An endpoint's state of affairs.
#[derive(Debug, Clone)]
struct Case {
    is_ready: bool,
    weight: u32,
    is_ejected: bool,
    is_tried: bool,
    under_way: usize,
    zone: usize,
}

fn case() -> impl Strategy<Value = Case> {
    (
        prop::bool::weighted(0.8),
        0_u32..4,
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.3),
        0_usize..4,
        0_usize..3,
    )
        .prop_map(|(is_ready, weight, is_ejected, is_tried, under_way, zone)| Case {
            is_ready,
            weight,
            is_ejected,
            is_tried,
            under_way,
            zone,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn chooses_one_that_is_free_whenever_there_is_one(
        cases in prop::collection::vec(case(), 0..12), way in 0_usize..6, hash: Option<u64>, near: bool,
    ) {
        let mut policy = balancing(all_balancings()[way].clone());
        policy.limits.endpoint_max_requests = Some(3);
        policy.locality = if near { LocalityPreference::Failover } else { LocalityPreference::None };
        let outliers = OutlierDetection {
            consecutive_5xx: Some(1),
            consecutive_gateway: None,
            success_rate: None,
            interval: Duration::from_secs(10),
            base_ejection: Duration::from_secs(3_000),
            max_ejection: Duration::from_secs(3_000),
            max_ejected_percent: 100,
        };
        policy.outliers = Some(outliers.clone());
        let with = |(n, case): (usize, &Case)| Endpoint {
            is_ready: case.is_ready,
            weight: case.weight,
            locality: locality("eu", ["a", "b", "c"][case.zone]),
            ..endpoint(n)
        };
        let world = World::new(policy, cases.iter().enumerate().map(with).collect());
        let states: Vec<_> = world.backend.endpoints().into_iter().map(|view| view.state).collect();
        let mut under_way = Vec::new();
        for (case, state) in cases.iter().zip(&states) {
            under_way.extend((0..case.under_way).map(|_| state.begin()));
            if case.is_ejected {
                state.health.eject(&outliers, Moment::now());
            }
        }
        world.backend.review_ejections();
        let tried: Vec<_> = cases.iter().zip(&states).filter(|(c, _)| c.is_tried).map(|(_, s)| Arc::clone(s)).collect();
        let here = locality("eu", "a");
        let pick = Pick { hash, ..pick(&tried, &here) };
        let is_free = |c: &Case| c.is_ready && !c.is_ejected && !c.is_tried && c.under_way < 3;
        for _ in 0..5 {
            match world.backend.choose(&pick) {
                Ok(chosen) => {
                    let case = &cases[number(chosen.address)];
                    prop_assert!(case.is_ready && !case.is_tried && case.under_way < 3, "{case:?}");
                    let is_better = |c: &Case| is_free(c) && (c.weight > 0 || case.weight == 0);
                    prop_assert!(is_free(case) || !cases.iter().any(is_better), "{case:?}");
                    prop_assert!(case.weight > 0 || !cases.iter().any(|c| is_free(c) && c.weight > 0), "{case:?}");
                }
                Err(error) => {
                    // But that drained ones do not relieve full ones.
                    let is_any_full = cases.iter().any(|c| c.is_ready && !c.is_ejected && !c.is_tried && c.under_way >= 3 && c.weight > 0);
                    prop_assert!(!cases.iter().any(|c| is_free(c) && (c.weight > 0 || !is_any_full)), "{error}");
                }
            }
        }
    }
}

use std::sync::Arc;

use mesh_model::{BackendPolicy, Balancing, Locality};

use super::super::world::{World, balancing, endpoints, number, pick, service, set};
use super::super::{EndpointState, Outcome};
use super::*;

fn policy(outliers: OutlierDetection) -> BackendPolicy {
    BackendPolicy {
        outliers: Some(outliers),
        ..balancing(Balancing::Random)
    }
}

fn consecutive(most: u32, percent: u32) -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx: Some(most),
        consecutive_gateway: None,
        success_rate: None,
        interval: Duration::from_secs(10),
        base_ejection: Duration::from_secs(30),
        max_ejection: Duration::from_secs(300),
        max_ejected_percent: percent,
    }
}

fn at(millis: u64) -> Moment {
    Moment::FIRST.after(Duration::from_millis(millis))
}

fn answer(endpoint: &Arc<EndpointState>, outcome: Outcome, now: Moment) {
    let mut request = endpoint.begin_at(|| now);
    request.finish_at(outcome, Duration::from_millis(1), now);
}

fn states(world: &World) -> Vec<Arc<EndpointState>> {
    world
        .backend
        .endpoints()
        .into_iter()
        .map(|view| view.state)
        .collect()
}

fn chosen(world: &World, now: Moment) -> Vec<usize> {
    let nowhere = Locality::default();
    let choose = |_| {
        number(
            world
                .backend
                .choose_at(&pick(&[], &nowhere), now)
                .unwrap()
                .address,
        )
    };
    let mut chosen: Vec<usize> = (0..500).map(choose).collect();
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

#[test]
fn an_endpoint_that_keeps_failing_is_left_out_probed_and_taken_back() {
    let world = World::new(policy(consecutive(5, 50)), endpoints(4));
    let bad = &states(&world)[2];
    for _ in 0..5 {
        assert_eq!(chosen(&world, at(0)), [0, 1, 2, 3]);
        answer(bad, Outcome::Status(500), at(0));
    }
    assert_eq!(chosen(&world, at(29_999)), [0, 1, 3]);
    assert!(world.ejected(2, at(29_999)));
    // A request at a time, until one has succeeded.
    assert_eq!(chosen(&world, at(30_000)), [0, 1, 2, 3]);
    let mut probe = bad.begin_at(|| at(30_000));
    assert_eq!(chosen(&world, at(30_000)), [0, 1, 3]);
    probe.finish_at(Outcome::Status(503), Duration::ZERO, at(30_000));
    drop(probe);
    assert_eq!(chosen(&world, at(89_999)), [0, 1, 3]);
    answer(bad, Outcome::Status(200), at(90_000));
    assert!(!world.ejected(2, at(90_000)));
    let (_one, _other) = (bad.begin_at(|| at(90_000)), bad.begin_at(|| at(90_000)));
    assert_eq!(chosen(&world, at(90_000)), [0, 1, 2, 3]);
}

#[test]
fn what_the_proxy_sees_itself_counts_as_envoy_counts_it() {
    let failures = [
        Outcome::ConnectFailed,
        Outcome::Reset,
        Outcome::Timeout,
        Outcome::Grpc(2),
        Outcome::Grpc(4),
        Outcome::Grpc(13),
        Outcome::Grpc(14),
        Outcome::Grpc(15),
        Outcome::Status(500),
    ];
    for outcome in failures {
        let world = World::new(policy(consecutive(2, 50)), endpoints(2));
        answer(&states(&world)[0], outcome, at(0));
        answer(&states(&world)[0], outcome, at(0));
        assert_eq!(chosen(&world, at(1)), [1], "{outcome:?}");
    }
    let fine = [
        Outcome::Ok,
        Outcome::Grpc(0),
        Outcome::Grpc(1),
        Outcome::Grpc(5),
        Outcome::Grpc(8),
        Outcome::Status(429),
        Outcome::Status(404),
    ];
    for outcome in fine {
        let world = World::new(policy(consecutive(2, 50)), endpoints(2));
        (0..9).for_each(|_| answer(&states(&world)[0], outcome, at(0)));
        assert_eq!(chosen(&world, at(1)), [0, 1], "{outcome:?}");
    }
}

#[test]
fn never_more_than_the_share_always_one_and_never_the_last() {
    for (count, percent, expected) in [
        (10, 50, 5),
        (10, 10, 1),
        (10, 1, 1),
        (10, 100, 9),
        (2, 100, 1),
        (1, 100, 0),
    ] {
        let world = World::new(policy(consecutive(1, percent)), endpoints(count));
        for _ in 0..3 {
            for state in states(&world) {
                answer(&state, Outcome::Status(500), at(0));
            }
        }
        assert_eq!(
            chosen(&world, at(1)).len(),
            count - expected,
            "{count} at {percent} %"
        );
    }
}

#[test]
fn each_address_family_keeps_its_last_one() {
    let mut both = endpoints(2);
    both[1].address = "fd00::1".parse().unwrap();
    let world = World::new(policy(consecutive(1, 100)), both);
    for state in states(&world) {
        answer(&state, Outcome::Status(500), at(0));
        assert!(state.health.is_in_service(at(1)));
    }
}

#[test]
fn threads_that_eject_together_leave_one() {
    let world = World::new(policy(consecutive(1, 100)), endpoints(16));
    let states = states(&world);
    std::thread::scope(|scope| {
        for part in states.chunks(4) {
            scope.spawn(move || {
                for _ in 0..200 {
                    for state in part {
                        answer(state, Outcome::Status(500), at(0));
                    }
                }
            });
        }
    });
    assert_eq!(chosen(&world, at(1)).len(), 1);
}

#[test]
fn when_only_ejected_ones_are_left_they_serve() {
    let mut world = World::new(policy(consecutive(1, 50)), endpoints(2));
    answer(&states(&world)[0], Outcome::Status(500), at(0));
    assert_eq!(chosen(&world, at(1)), [1]);
    world.apply(vec![set(endpoints(1))]);
    assert_eq!(chosen(&world, at(1)), [0]);
}

#[test]
fn without_detection_nobody_stays_ejected() {
    let mut world = World::new(policy(consecutive(1, 50)), endpoints(2));
    answer(&states(&world)[0], Outcome::Status(500), at(0));
    assert_eq!(chosen(&world, at(1)), [1]);
    world.apply(vec![service(BackendPolicy::default())]);
    assert_eq!(chosen(&world, at(1)), [0, 1]);
}

#[test]
fn ejection_outlives_a_change_of_the_endpoints() {
    let mut world = World::new(policy(consecutive(1, 50)), endpoints(3));
    answer(&states(&world)[0], Outcome::Status(500), at(0));
    world.apply(vec![set(endpoints(4))]);
    assert_eq!(chosen(&world, at(1)), [1, 2, 3]);
}

fn rates() -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx: None,
        success_rate: Some(SuccessRate {
            min_endpoints: 5,
            min_requests: 100,
            deviations_thousandths: 1_900,
        }),
        ..consecutive(1, 50)
    }
}

/// Each endpoint answers 200 requests, of which so many in a hundred fail.
fn interval(world: &World, failures: &[u32], from: u64) {
    for (state, failing) in states(world).iter().zip(failures) {
        for n in 0..200 {
            let status = if n % 100 < *failing { 500 } else { 200 };
            answer(state, Outcome::Status(status), at(from + u64::from(n)));
        }
    }
}

#[test]
fn a_success_rate_far_below_the_others_ejects() {
    let world = World::new(policy(rates()), endpoints(6));
    interval(&world, &[1, 1, 1, 40, 1, 1], 0);
    assert_eq!(
        chosen(&world, at(300)),
        [0, 1, 2, 3, 4, 5],
        "not before the interval's end"
    );
    answer(&states(&world)[0], Outcome::Status(200), at(10_001));
    assert_eq!(chosen(&world, at(10_002)), [0, 1, 2, 4, 5]);
}

#[test]
fn rates_that_are_all_alike_eject_nobody() {
    let world = World::new(policy(rates()), endpoints(6));
    interval(&world, &[30, 31, 29, 30, 32, 28], 0);
    answer(&states(&world)[0], Outcome::Status(200), at(10_001));
    assert_eq!(chosen(&world, at(10_002)).len(), 6);
}

#[test]
fn too_few_endpoints_or_requests_tell_nothing() {
    let world = World::new(policy(rates()), endpoints(4));
    interval(&world, &[0, 0, 0, 90], 0);
    answer(&states(&world)[0], Outcome::Status(200), at(10_001));
    assert_eq!(chosen(&world, at(10_002)).len(), 4);
}

#[test]
fn the_least_rate_is_the_mean_less_the_deviations() {
    let settings = SuccessRate {
        min_endpoints: 2,
        min_requests: 1,
        deviations_thousandths: 1_000,
    };
    // Mean 0.75, deviation 0.25.
    let least = least_rate([0.5, 1.0].into_iter(), settings).unwrap();
    assert!((least - 0.5).abs() < 1e-9);
    assert!(least_rate([1.0].into_iter(), settings).is_none());
}

impl World {
    fn ejected(&self, n: usize, now: Moment) -> bool {
        !states(self)[n].health.is_in_service(now)
    }
}

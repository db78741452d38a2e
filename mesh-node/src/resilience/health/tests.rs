use super::*;

fn policy() -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx: Some(3),
        consecutive_gateway: Some(2),
        success_rate: None,
        interval: Duration::from_secs(10),
        base_ejection: Duration::from_secs(30),
        max_ejection: Duration::from_secs(70),
        max_ejected_percent: 50,
    }
}

fn at(seconds: u64) -> Moment {
    Moment::FIRST.after(Duration::from_secs(seconds))
}

fn note(health: &Health, status: u16, now: Moment) -> Verdict {
    let is_probe = health.begin_probe(now);
    let verdict = health.note(status, is_probe, &policy(), now);
    if is_probe {
        health.end_probe();
    }
    verdict
}

#[test]
fn failures_count_only_one_after_another() {
    let health = Health::default();
    for _ in 0..10 {
        assert_eq!(note(&health, 500, at(0)), Verdict::Nothing);
        assert_eq!(note(&health, 500, at(0)), Verdict::Nothing);
        assert_eq!(note(&health, 404, at(0)), Verdict::Nothing);
    }
    assert_eq!(note(&health, 500, at(0)), Verdict::Nothing);
    assert_eq!(note(&health, 501, at(0)), Verdict::Nothing);
    assert_eq!(note(&health, 500, at(0)), Verdict::TooManyFailures);
}

#[test]
fn gateway_errors_have_a_count_of_their_own() {
    let health = Health::default();
    assert_eq!(note(&health, 503, at(0)), Verdict::Nothing);
    // Not a gateway error: the run is over, though that of 5xx is not.
    assert_eq!(note(&health, 500, at(0)), Verdict::Nothing);
    assert_eq!(note(&health, 200, at(0)), Verdict::Nothing);
    assert_eq!(note(&health, 502, at(0)), Verdict::Nothing);
    assert_eq!(note(&health, 504, at(0)), Verdict::TooManyFailures);
}

#[test]
fn a_refused_ejection_is_not_asked_for_again_at_each_failure() {
    let health = Health::default();
    let asked = (0..30)
        .filter(|_| note(&health, 500, at(0)) == Verdict::TooManyFailures)
        .count();
    assert_eq!(asked, 10);
}

#[test]
fn ejections_grow_up_to_the_longest_and_shrink_with_every_quiet_interval() {
    let health = Health::default();
    let seconds = |length: Duration| length.as_secs();
    assert_eq!(seconds(health.eject(&policy(), at(0))), 30);
    assert_eq!(seconds(health.eject(&policy(), at(0))), 60);
    assert_eq!(seconds(health.eject(&policy(), at(0))), 70);
    // Ejected, nothing is forgotten.
    health.forget(10);
    health.reset();
    health.forget(2);
    assert_eq!(seconds(health.eject(&policy(), at(0))), 60);
    health.reset();
    health.forget(9);
    assert_eq!(seconds(health.eject(&policy(), at(0))), 30);
}

#[test]
fn probes_come_one_at_a_time_and_decide() {
    let health = Health::default();
    health.eject(&policy(), at(0));
    assert!(!health.takes_requests(at(29)));
    assert!(!health.is_in_service(at(29)));
    assert!(!health.begin_probe(at(29)));
    assert!(health.takes_requests(at(30)));
    assert!(health.is_in_service(at(30)));
    assert!(health.begin_probe(at(30)));
    assert!(!health.takes_requests(at(30)), "one is under way");
    assert!(!health.begin_probe(at(30)));
    // Others that end meanwhile say nothing.
    assert_eq!(health.note(200, false, &policy(), at(30)), Verdict::Nothing);
    assert!(health.is_suspect());
    assert_eq!(health.note(500, true, &policy(), at(30)), Verdict::StillFails);
    health.end_probe();
    assert_eq!(health.phase(at(89)), Phase::Ejected { until: at(90) });
    assert!(health.begin_probe(at(90)));
    assert_eq!(health.note(200, true, &policy(), at(90)), Verdict::Recovered);
    health.end_probe();
    assert_eq!(health.phase(at(90)), Phase::Healthy);
}

#[test]
fn a_probe_that_tells_nothing_makes_way_for_the_next() {
    let health = Health::default();
    health.eject(&policy(), at(0));
    assert!(health.begin_probe(at(30)));
    health.end_probe();
    assert!(health.takes_requests(at(30)));
}

#[test]
fn a_probe_fails_by_what_is_looked_at() {
    let gateway_only = OutlierDetection {
        consecutive_5xx: None,
        ..policy()
    };
    let health = Health::default();
    health.eject(&gateway_only, at(0));
    assert_eq!(health.note(500, true, &gateway_only, at(30)), Verdict::Recovered);
    health.eject(&gateway_only, at(30));
    assert_eq!(health.note(503, true, &gateway_only, at(90)), Verdict::StillFails);
}

#[test]
fn answers_of_an_interval_are_tallied() {
    let health = Health::default();
    for status in [200, 404, 500, 200] {
        note(&health, status, at(0));
    }
    let tally = Tally {
        requests: 4,
        successes: 3,
    };
    assert_eq!(health.take_tally(), tally);
    assert_eq!(health.take_tally(), Tally::default());
}

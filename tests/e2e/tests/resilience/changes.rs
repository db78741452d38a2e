//! Endpoints that come and go under load.

use mesh_e2e::pace::{Load, Pace};
use mesh_e2e::report;

use crate::farm;

/// How often an endpoint leaves and comes back.
const CHANGES: usize = 20;

#[test]
fn endpoints_that_come_and_go_fail_no_request() {
    let mut farm = farm();
    let target = farm.service("churn", "").unwrap();
    farm.clear().unwrap();
    let folder = farm.folder();
    // 2,000 requests a second together, over both protocols and from both nodes, for half a minute.
    let mut loads: Vec<Load> = vec![
        Pace::http1(target, 25, 20, 15_000)
            .start(&farm.client_a, &folder, "churn-one-a")
            .unwrap(),
        Pace::http2(target, 500, 15_000)
            .start(&farm.client_a, &folder, "churn-two-a")
            .unwrap(),
        Pace::http1(target, 25, 20, 15_000)
            .start(&farm.client_b, &folder, "churn-one-b")
            .unwrap(),
        Pace::http2(target, 500, 15_000)
            .start(&farm.client_b, &folder, "churn-two-b")
            .unwrap(),
    ];
    for change in 0..CHANGES {
        let server = change % farm.servers.len();
        // By turns: not ready, or not one of the Service's any more.
        if change % 2 == 0 {
            farm.reshape(server, |manifest| manifest.ready(false)).unwrap();
        } else {
            farm.reshape(server, |manifest| manifest.label("part", "elsewhere"))
                .unwrap();
        }
        farm.wait_ready("churn", 3).unwrap();
        farm.reshape(server, |manifest| manifest).unwrap();
        farm.wait_ready("churn", 4).unwrap();
        assert!(
            loads.iter_mut().all(Load::is_running),
            "the load ended before the changes did"
        );
    }
    let outcomes: Vec<_> = loads.into_iter().map(|load| load.finish().unwrap()).collect();
    let (all, bad) = outcomes.iter().fold((0, 0), |(all, bad), outcome| {
        (all + outcome.all(), bad + outcome.bad())
    });
    for outcome in &outcomes {
        report!(
            "{:?}, p50 {:.1} ms, p99 {:.1} ms",
            outcome.statuses,
            outcome.milliseconds(500),
            outcome.milliseconds(990)
        );
    }
    report!("{CHANGES} endpoints left and came back at 2,000 requests/s: {bad} of {all} requests failed");
    assert_eq!(
        (all, bad),
        (60_000, 0),
        "{:?}",
        outcomes.iter().map(|o| &o.statuses).collect::<Vec<_>>()
    );
    assert!(
        farm.counts()
            .unwrap()
            .iter()
            .all(|counts| counts.requests > 5_000)
    );
}

//! Which endpoint a request goes to.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use mesh_e2e::ask::{Answer, Ask};
use mesh_e2e::farm::Farm;
use mesh_e2e::pace::Pace;
use mesh_harness::Workload;

use crate::farm;

/// The server that answered.
#[track_caller]
fn server(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    body["server"].as_str().unwrap().to_owned()
}

fn ask(from: &Workload, target: SocketAddr, header: &str) -> Answer {
    let ask = Ask::get(&format!("http://{target}/"));
    let ask = if header.is_empty() {
        ask
    } else {
        ask.header(header)
    };
    ask.send(from).unwrap()
}

/// How many requests each server got of a load from a client.
fn shares(farm: &Farm, from: &Workload, target: SocketAddr, name: &str) -> Vec<u64> {
    farm.clear().unwrap();
    let gets = Pace::http1(target, 10, 20, 400)
        .run(from, &farm.folder(), name)
        .unwrap();
    assert_eq!(gets.bad(), 0, "{:?}", gets.statuses);
    let counts = farm.counts().unwrap();
    counts.iter().map(|counts| counts.requests).collect()
}

#[test]
fn a_header_s_value_leads_to_one_endpoint_whichever_node_asks() {
    let mut farm = farm();
    for policy in ["RingHash", "Maglev"] {
        let name = policy.to_ascii_lowercase();
        let policy = format!("loadBalancing: {{ policy: {policy}, hash: {{ header: x-user }} }}");
        let target = farm.service(&name, &policy).unwrap();
        farm.clear().unwrap();
        let mut places = BTreeMap::new();
        for user in 0..12 {
            let header = format!("x-user: user-{user}");
            let place = server(&ask(&farm.client_a, target, &header));
            for from in [&farm.client_a, &farm.client_b, &farm.other_a] {
                assert_eq!(server(&ask(from, target, &header)), place, "{header}");
            }
            places.insert(user, place);
        }
        let mut all: Vec<&String> = places.values().collect();
        all.sort_unstable();
        all.dedup();
        assert!(all.len() >= 3, "{name}: {places:?}");
        // Without an endpoint only its own users move; with it they come back.
        farm.reshape(2, |manifest| manifest.ready(false)).unwrap();
        farm.wait_ready(&name, 3).unwrap();
        for (user, place) in &places {
            let now = server(&ask(&farm.client_b, target, &format!("x-user: user-{user}")));
            assert!(
                now != "s2" && (now == *place || place == "s2"),
                "user-{user}: {place}, then {now}"
            );
        }
        farm.reshape(2, |manifest| manifest).unwrap();
        farm.wait_ready(&name, 4).unwrap();
        for (user, place) in &places {
            let now = server(&ask(&farm.client_a, target, &format!("x-user: user-{user}")));
            assert_eq!(now, *place, "user-{user}");
        }
    }
}

#[test]
fn a_cookie_keeps_a_client_at_its_endpoint() {
    let mut farm = farm();
    let policy = "sessionAffinity: { cookie: { name: stay, maxAge: 1h, path: / } }";
    let target = farm.service("sticky", policy).unwrap();
    farm.clear().unwrap();
    let mut sessions = Vec::new();
    for _ in 0..6 {
        let first = ask(&farm.client_a, target, "");
        let cookie = first.header("set-cookie").unwrap();
        assert!(
            cookie.starts_with("stay=") && cookie.contains("Max-Age=3600"),
            "{cookie}"
        );
        let value = cookie.split(';').next().unwrap().to_owned();
        sessions.push((format!("cookie: {value}"), server(&first)));
    }
    for (cookie, place) in &sessions {
        for from in [&farm.client_a, &farm.client_b] {
            for _ in 0..5 {
                assert_eq!(server(&ask(from, target, cookie)), *place, "{cookie}");
            }
        }
    }
    // Its endpoint is gone: another one, and a new cookie.
    let (cookie, place) = &sessions[0];
    let number: usize = place.trim_start_matches('s').parse().unwrap();
    farm.reshape(number, |manifest| manifest.ready(false)).unwrap();
    farm.wait_ready("sticky", 3).unwrap();
    let moved = ask(&farm.client_a, target, cookie);
    let elsewhere = server(&moved);
    assert_ne!(elsewhere, *place);
    let renewed = moved.header("set-cookie").unwrap();
    let renewed = format!("cookie: {}", renewed.split(';').next().unwrap());
    assert_eq!(server(&ask(&farm.client_a, target, &renewed)), elsewhere);
    farm.reshape(number, |manifest| manifest).unwrap();
    farm.wait_ready("sticky", 4).unwrap();
}

#[test]
fn endpoints_nearby_go_first_and_others_take_over() {
    let mut farm = farm();
    let target = farm
        .service("near", "loadBalancing: { locality: Failover }")
        .unwrap();
    let near_a = shares(&farm, &farm.client_a, target, "near-a");
    assert!(
        near_a[0] > 100 && near_a[1] > 100 && near_a[2] + near_a[3] == 0,
        "{near_a:?}"
    );
    let near_b = shares(&farm, &farm.client_b, target, "near-b");
    assert!(
        near_b[2] > 100 && near_b[3] > 100 && near_b[0] + near_b[1] == 0,
        "{near_b:?}"
    );
    // Half of the zone: it bears 0.5 × 1.4 of the load; of the rest the region's other endpoints take most.
    farm.reshape(1, |manifest| manifest.ready(false)).unwrap();
    farm.wait_ready("near", 3).unwrap();
    let half = shares(&farm, &farm.client_a, target, "near-half");
    assert!(
        (260..=370).contains(&half[0]) && half[1] == 0 && half[2] + half[3] > 30,
        "{half:?}"
    );
    // None of it: the region.
    farm.reshape(0, |manifest| manifest.ready(false)).unwrap();
    farm.wait_ready("near", 2).unwrap();
    let region = shares(&farm, &farm.client_a, target, "near-none");
    assert!(
        region[0] + region[1] == 0 && region[2] > 100 && region[3] > 100,
        "{region:?}"
    );
    for server in [0, 1] {
        farm.reshape(server, |manifest| manifest).unwrap();
    }
    farm.wait_ready("near", 4).unwrap();
}

#[test]
fn weights_are_shares_and_none_is_a_last_resort() {
    let mut farm = farm();
    let target = farm
        .service("weighted", "loadBalancing: { policy: RoundRobin }")
        .unwrap();
    for (server, weight) in [(0, 1), (1, 2), (2, 5), (3, 0)] {
        farm.reshape(server, |manifest| manifest.weight(weight)).unwrap();
    }
    mesh_harness::until("the weights to be in force", mesh_e2e::LONG, || {
        let got = shares(&farm, &farm.client_a, target, "weighted");
        let is_near = |count: u64, share: u64| (share - 10..=share + 10).contains(&count);
        Ok(
            (is_near(got[0], 50) && is_near(got[1], 100) && is_near(got[2], 250) && got[3] == 0)
                .then_some(()),
        )
    })
    .unwrap();
    for server in 0..4 {
        farm.reshape(server, |manifest| manifest.ready(server == 3).weight(0))
            .unwrap();
    }
    farm.wait_ready("weighted", 1).unwrap();
    let got = shares(&farm, &farm.client_a, target, "resort");
    assert_eq!(got, [0, 0, 0, 400]);
    for server in 0..4 {
        farm.reshape(server, |manifest| manifest).unwrap();
    }
    farm.wait_ready("weighted", 4).unwrap();
}

#[test]
fn a_slow_endpoint_gets_fewer_requests() {
    let mut farm = farm();
    for policy in ["LeastRequest", "PeakEwma"] {
        let name = policy.to_ascii_lowercase();
        let target = farm
            .service(&name, &format!("loadBalancing: {{ policy: {policy} }}"))
            .unwrap();
        farm.clear().unwrap();
        farm.tell(3, "delay=400").unwrap();
        let gets = Pace::http2(target, 100, 1000)
            .run(&farm.client_a, &farm.folder(), &name)
            .unwrap();
        let counts = farm.counts().unwrap();
        farm.clear().unwrap();
        assert_eq!(gets.bad(), 0, "{:?}", gets.statuses);
        assert!(counts[3].requests < 150, "{policy}: {counts:?}");
        assert!(
            (0..3).all(|server| counts[server].requests > 100),
            "{policy}: {counts:?}"
        );
    }
}

//! Tables and rounds, against a node of the test's own.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use mesh_api::admin::{StatsGroup, StatsRow};

use super::*;
use crate::admin_client::Peer;

/// Answers one request after the other, each with the next of these.
fn node(answers: Vec<Stats>) -> AdminClient {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut head = [0; 1024];
            let read = stream.read(&mut head).expect("a request");
            assert!(head[..read].starts_with(b"GET /stats?by="));
            let body = serde_json::to_string(&answer).expect("JSON");
            let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            drop(stream.write_all(text.as_bytes()));
        }
    });
    AdminClient::new(Peer::Node, address, Duration::from_secs(5))
}

fn stats(seconds: u64, rows: Vec<StatsRow>) -> Stats {
    Stats {
        uptime_micros: seconds * 1_000_000,
        in_flight: 7,
        bounds_micros: vec![1_000, 10_000],
        overflowed: 0,
        rows,
    }
}

fn row(group: StatsGroup, requests: u64, failures: u64) -> StatsRow {
    StatsRow {
        group,
        requests,
        failures,
        flags: [("UH".to_owned(), failures)].into(),
        latency: vec![requests, 0, 0],
        ..StatsRow::default()
    }
}

fn service(name: &str) -> StatsGroup {
    StatsGroup {
        service: name.to_owned(),
        ..StatsGroup::default()
    }
}

fn route(route: &str, backend: &str) -> StatsGroup {
    StatsGroup {
        route: route.to_owned(),
        backend: backend.to_owned(),
        ..service("shop/web:80")
    }
}

fn stat_args(by: StatBy) -> StatArgs {
    StatArgs {
        by,
        window: Duration::from_millis(1),
        total: false,
        namespace: None,
    }
}

#[test]
fn a_window_shows_rates_and_a_total_shows_all() {
    let answers = || {
        vec![
            stats(
                100,
                vec![
                    row(service("shop/web:80"), 1000, 0),
                    row(service("other/api:80"), 4, 0),
                ],
            ),
            stats(
                110,
                vec![
                    row(service("shop/web:80"), 1400, 100),
                    row(service("other/api:80"), 4, 0),
                ],
            ),
        ]
    };
    let text = stat(&node(answers()), Output::Table, &stat_args(StatBy::Services)).expect("answers");
    let expected = "\
SERVICE         RPS   SUCCESS     P50     P95     P99   FLAGS
shop/web:80    40.0    75.00%   500µs   950µs   990µs   UH 100
other/api:80    0.0         -       -       -       -   -
";
    assert_eq!(text, expected);

    let mut only = stat_args(StatBy::Services);
    only.namespace = Some("shop".to_owned());
    let json = stat(&node(answers()), Output::Json, &only).expect("answers");
    let rows: Vec<serde_json::Value> = serde_json::from_str(&json).expect("JSON");
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["service"], "shop/web:80");
    assert_eq!(rows[0]["requests"], 400);
    assert_eq!(rows[0]["success_rate"], 0.75);

    let mut total = stat_args(StatBy::Services);
    total.total = true;
    let text = stat(&node(answers()), Output::Table, &total).expect("an answer");
    assert!(text.contains("shop/web:80    10.0      100%"), "{text}");
}

#[test]
fn routes_show_their_backends_and_workloads_their_role() {
    let rows = vec![
        row(route("shop/canary#0", "shop/web-v1:80"), 90, 0),
        row(route("shop/canary#0", "shop/web-v2:80"), 10, 0),
    ];
    let text = stat(
        &node(vec![stats(0, Vec::new()), stats(1, rows)]),
        Output::Table,
        &stat_args(StatBy::Routes),
    )
    .expect("answers");
    assert!(
        text.contains("shop/web:80   shop/canary#0   shop/web-v2:80   10.0      100%"),
        "{text}"
    );
    let workload = |role: &str| StatsGroup {
        workload: "shop/web-1".to_owned(),
        role: role.to_owned(),
        ..StatsGroup::default()
    };
    let rows = vec![row(workload("client"), 1, 1), row(workload("server"), 3, 0)];
    let text = stat(
        &node(vec![stats(0, Vec::new()), stats(1, rows)]),
        Output::Table,
        &stat_args(StatBy::Workloads),
    )
    .expect("answers");
    assert!(text.contains("shop/web-1   client   1.0     0.00%"), "{text}");
    assert!(text.contains("shop/web-1   server   3.0      100%"), "{text}");
}

#[test]
fn a_restart_in_between_is_told_and_not_shown_as_traffic() {
    let answers = vec![
        stats(100, vec![row(service("shop/web:80"), 1000, 0)]),
        stats(1, vec![row(service("shop/web:80"), 5, 0)]),
    ];
    let error = stat(&node(answers), Output::Table, &stat_args(StatBy::Services)).expect_err("no window");
    assert!(error.to_string().contains("restarted"), "{error}");
}

#[test]
fn top_ends_after_its_rounds_the_busiest_first() {
    let answers = || {
        (0..4)
            .map(|round| {
                let rows = vec![
                    row(service("shop/a:80"), round * 10, 0),
                    row(service("shop/b:80"), round * 30, 0),
                ];
                stats(100 + round, rows)
            })
            .collect()
    };
    let arguments = TopArgs {
        by: StatBy::Services,
        interval: Duration::from_millis(1),
        count: Some(3),
        namespace: None,
    };
    let mut rounds = Vec::new();
    let keep = |rounds: &mut Vec<String>, text: &str| {
        rounds.push(text.to_owned());
        Ok(true)
    };
    top(&node(answers()), Output::Table, &arguments, None, |text| {
        keep(&mut rounds, text)
    })
    .expect("answers");
    assert_eq!(rounds.len(), 3);
    for round in &rounds {
        assert!(round.contains("40.0 requests a second, 7 under way"), "{round}");
        let order: Vec<&str> = round.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(order[1..4], ["SERVICE", "shop/b:80", "shop/a:80"], "{round}");
        assert!(!round.contains('\x1b'), "no terminal, no control characters");
    }

    rounds.clear();
    top(&node(answers()), Output::Json, &arguments, None, |text| {
        keep(&mut rounds, text)
    })
    .expect("answers");
    for round in &rounds {
        assert_eq!(round.matches('\n').count(), 1, "one object a line");
        let value: serde_json::Value = serde_json::from_str(round).expect("JSON");
        assert_eq!(value["rows"][0]["service"], "shop/b:80");
    }

    rounds.clear();
    let screen = Some(Screen { lines: 5 });
    top(&node(answers()), Output::Table, &arguments, screen, |text| {
        keep(&mut rounds, text)
    })
    .expect("answers");
    for round in &rounds {
        assert!(round.starts_with("\x1b[H"), "{round:?}");
        assert_eq!(
            round.matches('\n').count(),
            4,
            "the terminal has five lines: {round:?}"
        );
    }

    let mut count = 0;
    top(&node(answers()), Output::Table, &arguments, None, |_| {
        count += 1;
        Ok(false)
    })
    .expect("an end");
    assert_eq!(count, 1, "nobody reads any more");
}

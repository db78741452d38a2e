//! Known requests, and the counters that must have moved by exactly as much.

use mesh_e2e::case::get;
use mesh_e2e::peers;
use mesh_e2e::routes::Route;
use mesh_e2e::{LONG, MOMENT};
use mesh_harness::until;
use serde_json::json;

use crate::{HALL, ask, wait_count};

const REQUESTS: &str = "mesh_node_requests_total";

#[test]
fn requests_are_counted_by_route_backend_workload_and_protocol() {
    let mut hall = HALL.take();
    let target = hall.service("counted").unwrap();
    let rules = "
- name: one
  matches: [ { path: { type: PathPrefix, value: /one } } ]
  backendRefs: [ { name: echo-v1, port: 80 } ]
- matches: [ { path: { type: PathPrefix, value: /two } } ]
  backendRefs: [ { name: echo-v2, port: 80 } ]
";
    hall.routes(&[Route::http("counted").parent("counted").rules(rules)])
        .unwrap();
    for _ in 0..7 {
        ask(&get("/one"), &target, &hall.client_a, 200);
    }
    for _ in 0..3 {
        ask(&get("/one").http2(), &target, &hall.client_a, 200);
    }
    let body = "x".repeat(1000);
    ask(&get("/two").body(&body), &target, &hall.client_a, 200);
    ask(&get("/two").with("X-Do: size=5000"), &target, &hall.client_a, 200);

    let a = hall.a();
    let from = ("source_workload", "mesh/client-a");
    let service = ("service", "mesh/counted:80");
    let one = [
        from,
        service,
        ("route", "mesh/counted#one"),
        ("backend", "mesh/echo-v1:80"),
    ];
    let two = [
        from,
        service,
        ("route", "mesh/counted#1"),
        ("backend", "mesh/echo-v2:80"),
    ];
    let well = [
        ("response_code", "200"),
        ("response_flags", "-"),
        ("grpc_status", ""),
    ];
    let labels = |path: &[(&'static str, &'static str)], more: &[(&'static str, &'static str)]| {
        [path, &well, more].concat()
    };
    let v1 = ("destination_workload", "mesh/echo-v1");
    let v2 = ("destination_workload", "mesh/echo-v2");
    wait_count(a, REQUESTS, &labels(&one, &[v1, ("protocol", "HTTP/1.1")]), 7.0);
    wait_count(a, REQUESTS, &labels(&one, &[v1, ("protocol", "HTTP/2")]), 3.0);
    wait_count(a, REQUESTS, &labels(&two, &[v2, ("protocol", "HTTP/1.1")]), 2.0);
    wait_count(a, REQUESTS, &[service], 12.0);

    let seconds = "mesh_node_request_duration_seconds";
    wait_count(a, &format!("{seconds}_count"), &one, 10.0);
    wait_count(
        a,
        &format!("{seconds}_bucket"),
        &[&one[..], &[("le", "+Inf")]].concat(),
        10.0,
    );
    wait_count(
        a,
        &format!("{seconds}_bucket"),
        &[&one[..], &[("le", "10.0")]].concat(),
        10.0,
    );
    wait_count(a, "mesh_node_request_bytes_total", &two, 1000.0);
    let metrics = a.metrics().unwrap();
    assert!(metrics.sum("mesh_node_response_bytes_total", &two) > 5000.0);
    let all = metrics.sum(&format!("{seconds}_sum"), &one);
    let ours = metrics.sum("mesh_node_request_proxy_seconds_total", &one);
    assert!(ours > 0.0 && ours < all, "{ours} of {all}");
    // The client's node alone counts a request.
    assert!(hall.b().metrics().unwrap().sum(REQUESTS, &[service]).abs() < f64::EPSILON);
}

#[test]
fn calls_are_counted_by_their_status() {
    let mut hall = HALL.take();
    let target = hall.service("called").unwrap();
    let (folder, to) = (
        hall.folder(),
        std::net::SocketAddr::new(target.address, peers::GRPC_PORT),
    );
    let call = |words: &str| json!({ "method": "/shop.Cart/GetUnary", "metadata": [["x-do", words]] });
    let answers = peers::grpc(
        &hall.client_a,
        &folder,
        to,
        &[call(""), call("code=5"), call("code=5"), call("code=14")],
    )
    .unwrap();
    assert_eq!(answers.len(), 4, "{answers:?}");
    let service = ("service", "mesh/called:7070");
    for (status, count) in [("0", 1.0), ("5", 2.0)] {
        let labels = [
            service,
            ("grpc_status", status),
            ("response_code", "200"),
            ("protocol", "HTTP/2"),
        ];
        wait_count(hall.a(), REQUESTS, &labels, count);
    }
    let labels = [service, ("grpc_status", "14")];
    let what = "the failed call to be counted";
    until(what, MOMENT, || {
        Ok((hall.a().metrics()?.sum(REQUESTS, &labels) > 0.0).then_some(()))
    })
    .unwrap();
}

#[test]
fn every_failure_is_counted_and_logged_under_its_flag() {
    let mut hall = HALL.take();
    let target = hall.service("failing").unwrap();
    hall.service_of("nobody", "nobody", 0).unwrap();
    let rules = "
- matches: [ { path: { type: PathPrefix, value: /invalid } } ]
  backendRefs: [ { name: absent, port: 80 } ]
- matches: [ { path: { type: PathPrefix, value: /slow } } ]
  timeouts: { request: 300ms }
  backendRefs: [ { name: echo-v1, port: 80 } ]
- matches: [ { path: { type: PathPrefix, value: /empty } } ]
  backendRefs: [ { name: nobody, port: 80 } ]
- matches: [ { path: { type: PathPrefix, value: /one } } ]
  backendRefs: [ { name: echo-v1, port: 80 } ]
";
    hall.routes(&[Route::http("failing").parent("failing").rules(rules)])
        .unwrap();
    let cases = [
        (get("/nothing"), 404, "NR"),
        (get("/invalid"), 500, "NC"),
        (get("/slow").with("X-Do: delay=1000"), 504, "UT"),
        (get("/empty"), 503, "UH"),
        (get("/one").with("X-Do: status=503"), 503, "-"),
        (get("/one").method("POST").with("X-Do: reset"), 503, "UC"),
    ];
    for (client, node, name) in [
        (&hall.client_a, hall.a(), "mesh/client-a"),
        (&hall.client_b, hall.b(), "mesh/client-b"),
    ] {
        let from = node.log().len();
        for (case, status, flag) in &cases {
            let answer = ask(case, &target, client, *status);
            let cause = answer.header("x-mesh-error").unwrap_or_default();
            let is_named = cause.split(' ').next() == Some(*flag);
            assert!(*flag == "-" || is_named, "{flag}: {cause:?}");
        }
        for (_, status, flag) in &cases {
            let status = status.to_string();
            let labels = [
                ("source_workload", name),
                ("service", "mesh/failing:80"),
                ("response_code", &status),
                ("response_flags", *flag),
            ];
            wait_count(node, REQUESTS, &labels, 1.0);
            // Either form of the log, without the quotes of one of them.
            let [status, flags] = match name {
                "mesh/client-a" => [format!(" status={status} "), format!(" flags={flag} ")],
                _ => [format!("status:{status},"), format!("flags:{flag},")],
            };
            node.wait_log(from, &["mesh/failing:80", &status, &flags], MOMENT)
                .unwrap();
        }
    }
}

#[test]
fn limits_faults_and_clients_that_leave_have_flags_of_their_own() {
    let mut hall = HALL.take();
    let limited = hall.service("limited").unwrap();
    let faulty = hall.service("faulty").unwrap();
    let left = hall.service("left").unwrap();
    let policy = |name: &str, spec: &str| {
        format!(
            "apiVersion: nodemesh.io/v1alpha1\nkind: TrafficPolicy\nmetadata: {{ name: {name}, namespace: mesh }}\n\
             spec:\n  targetRefs: [ {{ group: \"\", kind: Service, name: {name} }} ]\n{spec}"
        )
    };
    hall.write(
        "limited",
        &policy("limited", "  rateLimits: [ { requests: 1, per: 1h } ]\n"),
    )
    .unwrap();
    hall.write(
        "faulty",
        &policy(
            "faulty",
            "  faults:\n  - { percent: 100, delay: 20ms }\n  - { percent: 100, abort: { status: 418 }, matches: [ { path: { value: /tea } } ] }\n",
        ),
    )
    .unwrap();
    let a = hall.a();
    until("the limit to be reached", LONG, || {
        let answer = get("/").ask(&limited).send(&hall.client_a)?;
        Ok((answer.status == 429).then_some(()))
    })
    .unwrap();
    let flagged = |service, code, flags| {
        [
            ("service", service),
            ("response_code", code),
            ("response_flags", flags),
        ]
    };
    let labels = flagged("mesh/limited:80", "429", "RL");
    until("the limit to be counted", MOMENT, || {
        Ok((a.metrics()?.sum(REQUESTS, &labels) >= 1.0).then_some(()))
    })
    .unwrap();

    until("the faults to be injected", LONG, || {
        let answer = get("/tea").ask(&faulty).send(&hall.client_a)?;
        Ok((answer.status == 418).then_some(()))
    })
    .unwrap();
    ask(&get("/coffee"), &faulty, &hall.client_a, 200);
    wait_count(a, REQUESTS, &flagged("mesh/faulty:80", "200", "DI"), 1.0);
    let labels = [("service", "mesh/faulty:80"), ("response_code", "418")];
    until("the abort to be counted", MOMENT, || {
        let metrics = a.metrics()?;
        let mut found = metrics.matching(REQUESTS, &labels);
        Ok(found
            .any(|sample| sample.labels["response_flags"].contains("FI"))
            .then_some(()))
    })
    .unwrap();

    let from = a.log().len();
    // Before the answer, and in the middle of it: 640 KiB in 20 pieces over two seconds.
    let hold = get("/hold").with("X-Do: hold").http2();
    let drip = get("/drip").with("X-Do: size=1310720 every=100 chunked");
    for case in [hold, drip] {
        let ask = case.ask(&left).options(&["--max-time", "1"]);
        assert_ne!(ask.send(&hall.client_a).unwrap().exit, 0);
    }
    wait_count(a, REQUESTS, &flagged("mesh/left:80", "", "DC"), 1.0);
    wait_count(a, REQUESTS, &flagged("mesh/left:80", "200", "DC"), 1.0);
    for status in [" status=- ", " status=200 "] {
        a.wait_log(from, &["mesh/left:80", status, " flags=DC "], MOMENT)
            .unwrap();
    }
    hall.remove("limited").unwrap();
    hall.remove("faulty").unwrap();
}

#[test]
fn attempts_and_copies_are_counted_by_what_became_of_them() {
    let mut hall = HALL.take();
    let target = hall.service("again").unwrap();
    let rules = "
- matches: [ { path: { type: PathPrefix, value: /retried } } ]
  retry: { codes: [503], attempts: 2, backoff: 1ms }
  backendRefs: [ { name: echo-v1, port: 8080 } ]
- matches: [ { path: { type: PathPrefix, value: /copied } } ]
  filters: [ { type: RequestMirror, requestMirror: { backendRef: { name: echo-v2, port: 8080 } } } ]
  backendRefs: [ { name: echo-v1, port: 8080 } ]
";
    hall.routes(&[Route::http("again").parent("again").rules(rules)])
        .unwrap();
    let a = hall.a();
    let retries = |result| [("backend", "mesh/echo-v1:8080"), ("result", result)];
    let before = |result| {
        let metrics = a.metrics().unwrap();
        metrics.sum("mesh_node_request_retries_total", &retries(result))
    };
    let (retried, succeeded, limit) = (before("retried"), before("succeeded"), before("limit_reached"));
    let from = a.log().len();
    let once = get("/retried")
        .with("X-Do: status=503 times=1")
        .with("X-Key: telemetry-{unique}");
    ask(&once, &target, &hall.client_a, 200);
    a.wait_log(from, &["path=/retried", " status=200 ", " attempts=2 "], MOMENT)
        .unwrap();
    let always = get("/retried")
        .with("X-Do: status=503")
        .with("X-Key: telemetry-{unique}");
    ask(&always, &target, &hall.client_a, 503);
    a.wait_log(
        from,
        &["path=/retried", " status=503 ", " flags=URX ", " attempts=3 "],
        MOMENT,
    )
    .unwrap();
    let name = "mesh_node_request_retries_total";
    wait_count(a, name, &retries("retried"), retried + 3.0);
    wait_count(a, name, &retries("succeeded"), succeeded + 1.0);
    wait_count(a, name, &retries("limit_reached"), limit + 1.0);

    ask(&get("/copied"), &target, &hall.client_a, 200);
    let mirrored = [("backend", "mesh/echo-v2:8080"), ("result", "answered")];
    wait_count(a, "mesh_node_request_mirrors_total", &mirrored, 1.0);
}

#[test]
fn what_is_under_way_and_who_is_ejected_is_told() {
    let mut hall = HALL.take();
    let target = hall.service("ejecting").unwrap();
    let policy = "apiVersion: nodemesh.io/v1alpha1\nkind: TrafficPolicy\nmetadata: { name: ejecting, namespace: mesh }\n\
                  spec:\n  targetRefs: [ { group: \"\", kind: Service, name: ejecting } ]\n  \
                  outlierDetection: { consecutive5xx: 1, baseEjection: 60s, maxEjectedPercent: 50 }\n";
    hall.write("ejecting", policy).unwrap();
    let a = hall.a();
    let hold = get("/hold").with("X-Do: delay=3000").ask(&target);
    let client = hall.client_a.clone();
    let held = std::thread::spawn(move || hold.send(&client).unwrap().status);
    let backend = ("backend", "mesh/ejecting:80");
    wait_count(a, "mesh_node_backend_requests", &[backend], 1.0);
    assert!(a.metrics().unwrap().sum("mesh_node_requests_in_flight", &[]) >= 1.0);
    assert_eq!(held.join().unwrap(), 200);
    wait_count(a, "mesh_node_backend_requests", &[backend], 0.0);

    let state = |state| [backend, ("state", state)];
    until("an endpoint to be ejected", LONG, || {
        get("/")
            .with("X-Do: status=500")
            .ask(&target)
            .send(&hall.client_a)?;
        let metrics = a.metrics()?;
        Ok((metrics.sum("mesh_node_backend_endpoints", &state("ejected")) > 0.0).then_some(()))
    })
    .unwrap();
    let metrics = a.metrics().unwrap();
    // Never the last one.
    let ready = metrics.sum("mesh_node_backend_endpoints", &state("ready"));
    assert!(ready >= 1.0, "{ready}");
    assert!(metrics.sum("mesh_node_backend_ejections_total", &[backend]) >= 1.0);
    let services = a.admin("/services").unwrap();
    let service = services
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "mesh/ejecting");
    let endpoints = service.unwrap()["endpoints"].as_array().unwrap().clone();
    let ejections = endpoints
        .iter()
        .flat_map(|one| one["ejected"].as_array().unwrap());
    let ejections: Vec<_> = ejections.collect();
    assert!(!ejections.is_empty(), "{endpoints:?}");
    assert_eq!(ejections[0]["port"], 80);
    hall.remove("ejecting").unwrap();
}

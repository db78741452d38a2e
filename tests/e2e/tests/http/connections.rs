//! Clients' connections and the proxy's own to backends: kept, shared, raced for, given up.

use std::io::{Read, Write};
use std::time::Duration;

use mesh_e2e::ask::Ask;
use mesh_e2e::case::get;
use mesh_e2e::hall::{Hall, NAMESPACE};
use mesh_e2e::routes::Route;
use mesh_e2e::traffic::{connect, outcome};
use mesh_e2e::{LONG, MOMENT, peers, report};
use mesh_harness::manifest::{ServiceManifest, WorkloadManifest};
use mesh_harness::{binaries, until, wait};
use serde_json::{Value, json};

use crate::{HALL, PORTS, ask};

#[test]
fn many_requests_need_few_connections() {
    let hall = HALL.take();
    let target = hall.target("echo-v2").unwrap();
    for (port, _) in PORTS {
        let (before, _) = peers::connections(&hall.v2).unwrap();
        let url = format!("http://{}:{port}/", target.address);
        let h2load = |version: &str| {
            let words = [
                "--requests=300",
                "--clients=1",
                "--max-concurrent-streams=1",
                version,
                &url,
            ];
            hall.client_a.place.run("h2load", &words, LONG).unwrap().text()
        };
        for version in ["--h1", "--no-tls-proto=h2c"] {
            let text = h2load(version);
            assert!(text.contains("300 succeeded, 0 failed"), "{text}");
        }
        let (after, _) = peers::connections(&hall.v2).unwrap();
        assert!(
            after - before <= 3,
            "{} connections for 600 requests to port {port}",
            after - before
        );
    }
}

#[test]
fn concurrent_requests_share_an_http2_connection() {
    let hall = HALL.take();
    let target = hall.target("echo-v2").unwrap();
    let (before, _) = peers::connections(&hall.v2).unwrap();
    let asks: Vec<Value> = (0..100)
        .map(|_| json!({ "version": 1, "own": true, "headers": { "x-do": "delay=500" } }))
        .collect();
    let answers = ask(&hall, &hall.client_a, &target, 8082, &asks);
    assert!(answers.iter().all(|answer| answer["status"] == 200));
    let (after, _) = peers::connections(&hall.v2).unwrap();
    assert!(
        after - before <= 3,
        "{} connections for 100 requests at once",
        after - before
    );
}

#[test]
fn each_workloads_requests_have_connections_of_their_own() {
    let hall = HALL.take();
    let target = hall.target("echo-v2").unwrap();
    for client in [&hall.client_a, &hall.consumer] {
        // Both are on one node.
        assert_eq!(get("/").port(8082).ask(&target).send(client).unwrap().status, 200);
    }
    let connection = |client| {
        let answer = get("/").port(8082).ask(&target).send(client).unwrap();
        answer.seen().unwrap().field("connection")
    };
    assert_ne!(connection(&hall.client_a), connection(&hall.consumer));
    assert_eq!(connection(&hall.client_a), connection(&hall.client_a));
}

#[test]
fn connections_end_with_their_endpoint() {
    let hall = HALL.take();
    let target = hall.target("echo-v2").unwrap();
    for (port, _) in PORTS {
        assert_eq!(
            get("/")
                .port(port)
                .ask(&target)
                .send(&hall.client_a)
                .unwrap()
                .status,
            200
        );
    }
    assert!(peers::connections(&hall.v2).unwrap().1 > 0);
    // A pod that no Service selects any more.
    let manifest = |part: &str, app: &str| {
        let manifest = WorkloadManifest::new(NAMESPACE, "node-b", &hall.v2);
        let manifest = manifest.label("part", part).label("app", app);
        let manifest = manifest
            .port("http", peers::HTTP_PORT)
            .port("grpc", peers::GRPC_PORT);
        hall.mesh
            .manifests
            .workload(&manifest.port("chat", peers::WEBSOCKET_PORT))
            .unwrap();
    };
    manifest("away", "away");
    let closed = until(
        "the connections to the endpoint that left to be closed",
        MOMENT,
        || Ok((peers::connections(&hall.v2)?.1 == 0).then_some(())),
    );
    manifest("echo", "echo-v2");
    for node in &hall.mesh.nodes {
        node.wait_service("mesh/echo-v2", 1).unwrap();
    }
    closed.unwrap();
    hall.check(&target, &[get("/").reaches("echo-v2")]).unwrap();
}

#[test]
fn a_connection_header_is_for_one_side_only() {
    let hall = HALL.take();
    let target = hall.target("echo-v2").unwrap();
    let url = format!("http://{}/", target.address);
    let twice = |headers: &[&str]| {
        let ask = Ask::get(&url)
            .options(headers)
            .options(&["-w", "%{num_connects}", &url]);
        let answer = ask.send(&hall.client_a).unwrap();
        (answer.status, answer.text().chars().last())
    };
    // The client wants its connection closed, and it is.
    assert_eq!(twice(&["-H", "Connection: close"]), (200, Some('1')));
    // The backend closes its own; the client's stays.
    assert_eq!(twice(&["-H", "X-Do: close"]), (200, Some('0')));
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let hall = HALL.take();
    for service in ["echo-v1", "echo-v2"] {
        let target = hall.target(service).unwrap();
        let mut stream = connect(&hall.client_a, (target.address, 80).into());
        let requests: String = (0..20)
            .map(|number| {
                // Earlier ones take longer.
                let end = if number == 19 { "Connection: close\r\n" } else { "" };
                let delay = if number < 5 { 100 - number * 20 } else { 0 };
                format!("POST /pipe/{number} HTTP/1.1\r\nHost: a\r\nX-Do: delay={delay}\r\nContent-Length: 3\r\n{end}\r\nabc")
            })
            .collect::<Vec<_>>()
            .concat();
        stream.write_all(requests.as_bytes()).unwrap();
        let text = String::from_utf8(outcome(&mut stream).unwrap()).unwrap();
        let paths: Vec<&str> = text
            .split("\"path\":\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        let expected: Vec<String> = (0..20).map(|number| format!("/pipe/{number}")).collect();
        assert_eq!(paths, expected, "{text}");
    }
}

#[test]
fn clients_of_http_1_0_are_served() {
    let hall = HALL.take();
    for service in ["echo-v1", "echo-v2"] {
        let target = hall.target(service).unwrap();
        for (port, _) in PORTS {
            for does in ["x", "chunked", "trailers", "hints", "size=300000 chunked"] {
                // No Host, and the end of the answer is the end of the connection.
                let mut stream = connect(&hall.client_a, (target.address, port).into());
                write!(stream, "GET /old HTTP/1.0\r\nX-Do: {does}\r\n\r\n").unwrap();
                let bytes = outcome(&mut stream).unwrap();
                let text = String::from_utf8_lossy(&bytes);
                let (head, body) = text.split_once("\r\n\r\n").unwrap();
                assert!(
                    head.starts_with("HTTP/1.") && head.contains(" 200 "),
                    "{does}: {head}"
                );
                assert!(
                    !head.to_ascii_lowercase().contains("transfer-encoding"),
                    "{does}: {head}"
                );
                if does.starts_with("size") {
                    assert_eq!(body.len(), 300_000);
                } else {
                    let seen: Value =
                        serde_json::from_str(body).unwrap_or_else(|error| panic!("{does}: {error}: {text}"));
                    assert_eq!(seen["path"], "/old");
                }
            }
        }
        // A connection that both sides want to keep.
        let url = format!("http://{}/", target.address);
        let ask = Ask::get(&url).options(&[
            "--http1.0",
            "-H",
            "Connection: keep-alive",
            "-w",
            "%{num_connects}",
            &url,
        ]);
        let answer = ask.send(&hall.client_a).unwrap();
        assert_eq!(
            (answer.status, answer.text().chars().last()),
            (200, Some('0')),
            "{answer:?}"
        );
    }
}

#[test]
fn a_half_closed_client_gets_its_answer() {
    let hall = HALL.take();
    let target = hall.target("echo-v2").unwrap();
    let mut stream = connect(&hall.client_a, (target.address, 80).into());
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX-Do: delay=300\r\n\r\n")
        .unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
}

/// An nginx that gives its connections up early: after some requests, or after a moment.
const IMPATIENT: &str = "
daemon off; master_process off; pid FOLDER/pid; error_log stderr warn;
events { worker_connections 4000; }
http {
  client_body_temp_path FOLDER/b; proxy_temp_path FOLDER/p; fastcgi_temp_path FOLDER/f; uwsgi_temp_path FOLDER/u; scgi_temp_path FOLDER/s;
  access_log off;
  server { listen 0.0.0.0:8077 backlog=4096; listen [::]:8077 ipv6only=on; keepalive_requests 7; location / { return 200 ok; } }
  server { listen 0.0.0.0:8078 backlog=4096; listen [::]:8078 ipv6only=on; keepalive_timeout 30ms; location / { return 200 ok; } }
}
";

/// Starts two impatient servers, one on each node, behind a Service at this address.
fn impatient_service(hall: &mut Hall, address: &str) {
    for (node, name) in [("node-a", "impatient-a"), ("node-b", "impatient-b")] {
        let pod = hall.mesh.add_pod(node, name).unwrap();
        let folder = hall.folder().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let config = folder.join("nginx.conf");
        let text = IMPATIENT.replace("FOLDER", &folder.display().to_string());
        std::fs::write(&config, text).unwrap();
        let nginx = pod.place.program("nginx").unwrap().arg("-c").arg(&config);
        hall.servers.push(nginx.args(["-e", "stderr"]).spawn().unwrap());
        pod.place.wait_listening(8077, MOMENT).unwrap();
        let enrolled = |workload: WorkloadManifest| {
            workload
                .label("part", "impatient")
                .port("few", 8077)
                .port("short", 8078)
        };
        hall.mesh.enrol(NAMESPACE, node, &pod, enrolled).unwrap();
    }
    let service = ServiceManifest::new(NAMESPACE, "impatient").selects_label("part", "impatient");
    let service = service
        .address(address)
        .named_port("few", 80, 8077, Some("http"))
        .named_port("short", 81, 8078, Some("http"));
    hall.mesh.manifests.service(&service).unwrap();
    hall.a().wait_service("mesh/impatient", 2).unwrap();
}

/// h2load over HTTP/1.1 from one pod, several at once: none of the requests may fail.
fn loads(hall: &Hall, url: &str, loads: &[&[&str]]) {
    let running: Vec<_> = loads
        .iter()
        .map(|words| {
            let name = format!("h2load{}", words.concat());
            let h2load = binaries::theirs("h2load").unwrap();
            let program = hall.client_a.place.program_at(&name, &h2load);
            let program = program.args(["--h1", "--clients=8", "--threads=1"]).args(*words);
            program.arg(url).spawn().unwrap()
        })
        .collect();
    for (mut load, words) in running.into_iter().zip(loads) {
        load.wait(LONG).unwrap();
        let log = load.log();
        let line = |begin: &str| {
            let found = log.lines().find(|line| line.starts_with(begin));
            found.unwrap_or_default().to_owned()
        };
        let codes = line("status codes: ");
        if words.len() > 1 {
            report!("a backend that closes early, {words:?}: {codes}");
        }
        assert!(codes.ends_with("2xx, 0 3xx, 0 4xx, 0 5xx"), "{log}");
        assert!(
            line("requests: ").contains(" 0 failed, 0 errored, 0 timeout"),
            "{log}"
        );
    }
}

#[test]
fn a_backend_that_gives_its_connections_up_fails_no_request() {
    let mut hall = HALL.take();
    impatient_service(&mut hall, "10.96.3.1");
    let url = "http://10.96.3.1/";
    // Every seventh answer says that it is the connection's last.
    loads(&hall, url, &[&["--requests=4000"]]);
    // Connections that ended while nobody wanted them.
    let url = "http://10.96.3.1:81/";
    for _ in 0..8 {
        loads(&hall, url, &[&["--requests=20"]]);
        std::thread::sleep(Duration::from_millis(200));
    }
    // Paces just beyond the time after which nginx closes: requests and ends meet on the way. Such a request may have
    // come; with a retry policy it is sent again all the same, as GET may be.
    let rules = "- retry: { attempts: 3 }\n  backendRefs: [ { name: impatient, port: 81 } ]";
    let route = Route::http("impatient").parent("impatient").rules(rules);
    hall.routes(std::slice::from_ref(&route)).unwrap();
    let paces = ["--rps=31", "--rps=32", "--rps=33"].map(|pace| ["--duration=6", pace]);
    loads(&hall, url, &[&paces[0], &paces[1], &paces[2]]);
    hall.remove(&route.file()).unwrap();
    hall.mesh.manifests.remove("service-mesh-impatient.yaml").unwrap();
}

#[test]
fn a_request_that_may_have_come_is_not_sent_twice() {
    let hall = HALL.take();
    let target = hall.target("echo-v1").unwrap();
    // The backend breaks every connection at the request: not one of them may come a second time.
    for number in 0..30 {
        let key = format!("once-{number}");
        let method = if number % 2 == 0 { "POST" } else { "GET" };
        // A good one before, so that there is a connection to reuse.
        assert_eq!(get("/").ask(&target).send(&hall.client_a).unwrap().status, 200);
        let case = get("/")
            .method(method)
            .with(&format!("X-Key: {key}"))
            .with("X-Do: reset");
        let answer = case.ask(&target).send(&hall.client_a).unwrap();
        assert!([502, 503].contains(&answer.status), "{answer:?}");
        let log = peers::log(&hall.v1).unwrap();
        assert_eq!(
            log.iter().filter(|entry| entry["key"] == key).count(),
            1,
            "{method} {key}"
        );
    }
}

#[test]
fn an_idle_client_keeps_its_connection() {
    let hall = HALL.take();
    let target = hall.target("echo-v2").unwrap();
    let mut stream = connect(&hall.client_a, (target.address, 80).into());
    let ask = |stream: &mut std::net::TcpStream| {
        stream.write_all(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut bytes = [0; 4096];
        let length = stream.read(&mut bytes).unwrap();
        assert!(bytes[..length].starts_with(b"HTTP/1.1 200 "));
    };
    ask(&mut stream);
    std::thread::sleep(Duration::from_secs(3));
    ask(&mut stream);
    wait::until_true("the connection to be counted", MOMENT, || {
        hall.a()
            .admin("/status")
            .is_ok_and(|status| status["open_connections"].as_u64() > Some(0))
    })
    .unwrap();
}

//! What travels between nodes: everyday programs through mutual TLS, and peers that are refused.

#![expect(clippy::unwrap_used, reason = "in a test, a failure's place is what matters")]

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use mesh_e2e::rogue::{self, Authority, Credentials, Met, TUNNEL_PORT, TunnelRequest, Validity};
use mesh_e2e::servers::{self, NGINX_PORT, POSTGRES_PORT, REDIS_PORT};
use mesh_e2e::shop::{NEIGHBOUR, Shop, WEB, WEB_V6};
use mesh_e2e::traffic::{address, connect, curl, outcome};
use mesh_e2e::turns::Turns;
use mesh_e2e::{LONG, MOMENT};
use mesh_harness::manifest::WorkloadManifest;
use mesh_harness::sniffer::{Segment, occurrences};
use mesh_harness::{Sniffer, Workload};
use sha2::{Digest, Sha256};

static SHOP: Turns<Shop> = Turns::new(Shop::open);

/// What no capture between nodes may show: 20 bytes, at least once in each kilobyte of a payload.
const MARKER: &[u8] = b"payload-in-the-clear";
const MIB: usize = 1024 * 1024;

/// A payload that does not compress, with the marker in each kilobyte, and its SHA-256.
fn payload(size: usize) -> (Vec<u8>, String) {
    let mut bytes = Vec::with_capacity(size);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64; // xorshift64: reproducible, and no two kilobytes are the same
    while bytes.len() < size {
        if bytes.len() % 1024 == 0 {
            bytes.extend_from_slice(MARKER);
            bytes.extend_from_slice(&[b'-'; 4]);
        }
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_ne_bytes());
    }
    let digest = hex(&Sha256::digest(&bytes));
    (bytes, digest)
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// Segments between two pods' addresses.
fn between<'a>(segments: &'a [Segment], one: &Workload, two: &Workload) -> Vec<&'a Segment> {
    let ends = |segment: &Segment| [segment.source.0, segment.destination.0];
    let among = |segment: &Segment| {
        let [from, to] = ends(segment);
        (one.addresses.contains(&from) && two.addresses.contains(&to))
            || (two.addresses.contains(&from) && one.addresses.contains(&to))
    };
    segments.iter().filter(|segment| among(segment)).collect()
}

fn download(shop: &Shop, url: &str) -> Vec<u8> {
    let curl = shop
        .client
        .place
        .program("curl")
        .unwrap()
        .args(["-sS", "--fail", "--max-time", "60", url]);
    curl.run(LONG).unwrap().success().unwrap().stdout
}

fn carries_100_mib_unseen(service: &str, family: usize) {
    let shop = SHOP.take();
    let (bytes, digest) = payload(100 * MIB);
    let file = servers::nginx_files(&shop.web, &shop.folder()).join("payload");
    fs::write(&file, &bytes).unwrap();
    drop(bytes);
    let sniffer = Sniffer::start(&shop.mesh.topology, &shop.a().node.link).unwrap();
    let got = download(&shop, &format!("http://{service}/payload"));
    let segments = sniffer.finish().unwrap();
    assert_eq!(got.len(), 100 * MIB);
    assert_eq!(hex(&Sha256::digest(&got)), digest);
    assert_eq!(
        occurrences(&segments, MARKER),
        0,
        "the payload passed the link in the clear"
    );
    let between = between(&segments, &shop.client, &shop.web);
    let other: Vec<&&Segment> = between
        .iter()
        .filter(|segment| ![segment.source.1, segment.destination.1].contains(&TUNNEL_PORT))
        .collect();
    assert!(
        other.is_empty(),
        "ports other than {TUNNEL_PORT}: {:?} to {:?}",
        other[0].source,
        other[0].destination
    );
    let carried: usize = between.iter().map(|segment| segment.payload.len()).sum();
    assert!(
        carried > 100 * MIB,
        "only {carried} bytes were seen between the pods"
    );
    let own = shop.client.addresses[family];
    assert!(
        between.iter().any(|segment| segment.source.0 == own),
        "the family was not used"
    );
    let foreign = segments
        .iter()
        .find(|segment| !is_control(&shop, segment) && !is_pod_pair(&shop, segment));
    assert!(
        foreign.is_none(),
        "somebody else's traffic passed the link: {:?}",
        foreign.map(|one| one.destination)
    );
}

fn is_control(shop: &Shop, segment: &Segment) -> bool {
    let control = shop.mesh.control.host().addresses;
    control.contains(&segment.source.0) || control.contains(&segment.destination.0)
}

fn is_pod_pair(shop: &Shop, segment: &Segment) -> bool {
    !between(std::slice::from_ref(segment), &shop.client, &shop.web).is_empty()
}

#[test]
fn carries_100_mib_to_curl_from_nginx_unseen() {
    carries_100_mib_unseen(WEB, 0);
}

#[test]
fn carries_100_mib_over_ipv6_unseen() {
    carries_100_mib_unseen(WEB_V6, 1);
}

#[test]
fn the_sniffer_would_see_the_payload_without_the_mesh() {
    let shop = SHOP.take();
    let (bytes, _) = payload(MIB);
    fs::write(
        servers::nginx_files(&shop.web, &shop.folder()).join("small"),
        &bytes,
    )
    .unwrap();
    let sniffer = Sniffer::start(&shop.mesh.topology, &shop.a().node.link).unwrap();
    let got = curl_bytes(
        &shop.stranger,
        &format!("http://{}:{NGINX_PORT}/small", shop.web.v4()),
    );
    let segments = sniffer.finish().unwrap();
    assert_eq!(got, bytes);
    assert!(
        occurrences(&segments, MARKER) > 900,
        "a test that sees nothing proves nothing"
    );
}

fn curl_bytes(from: &Workload, url: &str) -> Vec<u8> {
    from.place
        .run("curl", &["-sS", "--max-time", "5", url], MOMENT)
        .unwrap()
        .stdout
}

#[test]
fn carries_wrks_load() {
    let shop = SHOP.take();
    let url = format!("http://{WEB}/ok");
    let wrk = shop
        .client
        .place
        .run("wrk", &["-t2", "-c64", "-d3s", &url], LONG)
        .unwrap()
        .text();
    assert!(
        !wrk.contains("Socket errors") && !wrk.contains("Non-2xx"),
        "{wrk}"
    );
    let rate = wrk
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"))
        .unwrap();
    let rate: f64 = rate.trim().parse().unwrap();
    mesh_e2e::report!("wrk, 64 connections between two nodes: {rate} requests/s");
    assert!(rate > 500.0, "{wrk}");
}

#[test]
fn carries_redis() {
    let mut shop = SHOP.take();
    let store = shop.mesh.add_pod("node-b", "store").unwrap();
    let server = servers::redis(&store, &shop.folder()).unwrap();
    shop.servers.push(server);
    shop.mesh
        .enrol("shop", "node-b", &store, |workload| {
            workload.port("redis", REDIS_PORT)
        })
        .unwrap();
    shop.add_service_with("store", 11, REDIS_PORT, REDIS_PORT, 1)
        .unwrap();
    let redis = |arguments: &[&str]| {
        let mut all = vec!["-h", "10.96.0.11"];
        all.extend(arguments);
        shop.client.place.run("redis-cli", &all, MOMENT).unwrap().text()
    };
    assert_eq!(redis(&["PING"]), "PONG");
    assert_eq!(redis(&["SET", "key", "a value"]), "OK");
    assert_eq!(redis(&["GET", "key"]), "a value");
    let many: String = (0..10_000)
        .map(|number| format!("SET key-{number} {number}\n"))
        .collect::<Vec<_>>()
        .concat();
    let program = shop
        .client
        .place
        .program("redis-cli")
        .unwrap()
        .args(["-h", "10.96.0.11", "--pipe"]);
    let report = program.input(many).run(LONG).unwrap().success().unwrap().text();
    assert!(report.contains("errors: 0, replies: 10000"), "{report}");
    shop.a()
        .wait_log(0, &["service=shop/store", "transport=hbone"], MOMENT)
        .unwrap();
}

#[test]
fn carries_postgresql() {
    let mut shop = SHOP.take();
    let database = shop.mesh.add_pod("node-b", "database").unwrap();
    let server = servers::postgres(&database, &shop.folder()).unwrap();
    shop.servers.push(server);
    shop.mesh
        .enrol("shop", "node-b", &database, |workload| {
            workload.port("sql", POSTGRES_PORT)
        })
        .unwrap();
    shop.add_service_with("database", 12, POSTGRES_PORT, POSTGRES_PORT, 1)
        .unwrap();
    let sql = |statement: &str| {
        let psql = shop
            .client
            .place
            .program("psql")
            .unwrap()
            .env("PGCONNECT_TIMEOUT", "5");
        let psql = psql.args([
            "-X",
            "-A",
            "-t",
            "-h",
            "10.96.0.12",
            "-U",
            "postgres",
            "-c",
            statement,
        ]);
        psql.run(MOMENT).unwrap().success().unwrap().text()
    };
    assert_eq!(sql("select 6 * 7"), "42");
    sql("create table goods as select n, repeat('x', 1000) as text from generate_series(1, 20000) n");
    assert_eq!(sql("select sum(length(text)) from goods"), "20000000");
    assert_eq!(sql("select text from goods").len(), 20_000 * 1001 - 1);
    shop.a()
        .wait_log(0, &["service=shop/database", "transport=hbone"], MOMENT)
        .unwrap();
}

#[test]
fn a_neighbour_is_reached_without_the_link() {
    let shop = SHOP.take();
    let (bytes, digest) = payload(MIB);
    fs::write(
        servers::nginx_files(&shop.neighbour, &shop.folder()).join("small"),
        &bytes,
    )
    .unwrap();
    let sniffer = Sniffer::start(&shop.mesh.topology, &shop.a().node.link).unwrap();
    let got = download(&shop, &format!("http://{NEIGHBOUR}/small"));
    assert_eq!(hex(&Sha256::digest(&got)), digest);
    let segments = sniffer.finish().unwrap();
    assert!(
        segments.iter().all(|segment| is_control(&shop, segment)),
        "it left the node"
    );
}

/// Files of a test's own.
struct Papers {
    folder: PathBuf,
    roots: PathBuf,
    mesh: Authority,
}

impl Papers {
    fn new(shop: &Shop, name: &str) -> Self {
        let folder = shop.folder().join(name);
        fs::create_dir(&folder).unwrap();
        let mesh = Authority::of_mesh(&shop.mesh.control).unwrap();
        let roots = folder.join("roots.pem");
        mesh.write_roots(&roots).unwrap();
        Self { folder, roots, mesh }
    }

    fn issue(&self, name: &str, identity: &str, validity: Validity) -> Credentials {
        self.mesh.issue(&self.folder, name, identity, validity).unwrap()
    }
}

/// Asks the web server's proxy for a tunnel to nginx, from outside the mesh.
fn ask_web(shop: &Shop, roots: &Path, credentials: Option<&Credentials>) -> Met {
    let server = SocketAddr::new(shop.web.v4(), TUNNEL_PORT);
    let authority = format!("{}:{NGINX_PORT}", shop.web.v4());
    TunnelRequest {
        from: &shop.outsider,
        server,
        credentials,
        roots,
        method: "CONNECT",
        authority: &authority,
    }
    .send()
    .unwrap()
}

const CLIENT_ID: &str = "spiffe://cluster.local/ns/shop/sa/client";

#[test]
fn a_tunnel_client_of_other_making_is_served() {
    let shop = SHOP.take();
    let papers = Papers::new(&shop, "other-making");
    let client = papers.issue("client", CLIENT_ID, Validity::Good);
    assert_eq!(
        ask_web(&shop, &papers.roots, Some(&client)),
        Met::Opened("ok".to_owned())
    );
    shop.b()
        .wait_log(0, &["direction=inbound", CLIENT_ID, "transport=hbone"], MOMENT)
        .unwrap();
}

#[test]
fn a_tunnel_request_is_answered_as_the_protocol_has_it() {
    let shop = SHOP.take();
    let papers = Papers::new(&shop, "answers");
    let client = papers.issue("client", CLIENT_ID, Validity::Good);
    let server = SocketAddr::new(shop.web.v4(), TUNNEL_PORT);
    let ask = |method: &str, authority: &str| {
        let credentials = Some(&client);
        TunnelRequest {
            from: &shop.outsider,
            server,
            credentials,
            roots: &papers.roots,
            method,
            authority,
        }
        .send()
        .unwrap()
    };
    let web = format!("{}:{NGINX_PORT}", shop.web.v4());
    assert_eq!(ask("GET", &web), Met::Status(400), "only CONNECT opens a tunnel");
    assert_eq!(ask("CONNECT", "web.shop:no-port"), Met::Status(400));
    assert_eq!(
        ask("CONNECT", &format!("{}:{NGINX_PORT}", shop.neighbour.v4())),
        Met::Status(400),
        "not its address"
    );
    assert_eq!(
        ask("CONNECT", &format!("{}:7", shop.web.v4())),
        Met::Status(503),
        "nobody listens there"
    );
    assert_eq!(
        ask("CONNECT", &format!("{}:{TUNNEL_PORT}", shop.web.v4())),
        Met::Status(503),
        "a call to itself"
    );
    assert_eq!(ask("CONNECT", &web), Met::Opened("ok".to_owned()));
}

#[test]
fn a_client_certificate_of_another_trust_domain_is_refused() {
    let shop = SHOP.take();
    let papers = Papers::new(&shop, "another-domain");
    let mark = shop.b().log().len();
    // Signed by the mesh's own root, so that only the name is wrong.
    let stranger = papers.issue(
        "stranger",
        "spiffe://other.example/ns/shop/sa/client",
        Validity::Good,
    );
    let met = ask_web(&shop, &papers.roots, Some(&stranger));
    assert!(matches!(met, Met::Refused(_)), "{met:?}");
    let parts = [
        "spiffe://other.example/ns/shop/sa/client",
        "is not of this mesh's trust domain cluster.local",
    ];
    shop.b().wait_log(mark, &parts, MOMENT).unwrap();
    // And by a root that the mesh does not know.
    let foreign = Authority::foreign("cluster.local").unwrap();
    let forged = foreign
        .issue(&papers.folder, "forged", CLIENT_ID, Validity::Good)
        .unwrap();
    let mark = shop.b().log().len();
    let met = ask_web(&shop, &papers.roots, Some(&forged));
    assert!(matches!(met, Met::Refused(_)), "{met:?}");
    shop.b()
        .wait_log(mark, &[&shop.outsider.v4().to_string(), "UnknownIssuer"], MOMENT)
        .unwrap();
}

#[test]
fn an_expired_client_certificate_is_refused() {
    let shop = SHOP.take();
    let papers = Papers::new(&shop, "expired");
    let mark = shop.b().log().len();
    let expired = papers.issue("expired", CLIENT_ID, Validity::Expired);
    let met = ask_web(&shop, &papers.roots, Some(&expired));
    assert!(matches!(met, Met::Refused(_)), "{met:?}");
    shop.b()
        .wait_log(mark, &[&shop.outsider.v4().to_string(), "expired"], MOMENT)
        .unwrap();
}

#[test]
fn a_client_without_a_certificate_is_refused() {
    let shop = SHOP.take();
    let papers = Papers::new(&shop, "without");
    let mark = shop.b().log().len();
    let met = ask_web(&shop, &papers.roots, None);
    assert!(matches!(met, Met::Refused(_)), "{met:?}");
    shop.b()
        .wait_log(mark, &[&shop.outsider.v4().to_string(), "certificate"], MOMENT)
        .unwrap();
    let refused = shop
        .b()
        .metrics()
        .unwrap()
        .sum("mesh_node_tls_handshakes_total", &[("side", "server")]);
    assert!(refused >= 1.0, "{refused}");
}

#[test]
fn a_server_with_the_wrong_identity_is_refused() {
    let mut shop = SHOP.take();
    let papers = Papers::new(&shop, "impostor");
    // A pod of a node whose proxy is not ours: it holds a good certificate, for somebody else.
    let impostor = shop.mesh.add_pod("node-b", "impostor").unwrap();
    let stolen = papers.issue("stolen", "spiffe://cluster.local/ns/shop/sa/web", Validity::Good);
    let server = rogue::tls_server(&impostor, &stolen, &papers.roots).unwrap();
    shop.servers.push(server);
    let manifest = WorkloadManifest::new("shop", "node-of-another", &impostor).port("http", NGINX_PORT);
    shop.mesh.manifests.workload(&manifest).unwrap();
    shop.add_service_with("impostor", 13, 80, NGINX_PORT, 1).unwrap();
    let mark = shop.a().log().len();
    let mut stream = connect(&shop.client, address("10.96.0.13:80"));
    stream.write_all(b"a secret").unwrap_or_default();
    assert_eq!(outcome(&mut stream), Err(ErrorKind::ConnectionReset));
    let parts = [
        "the server is spiffe://cluster.local/ns/shop/sa/web",
        "but spiffe://cluster.local/ns/shop/sa/impostor was to be reached",
    ];
    shop.a().wait_log(mark, &parts, MOMENT).unwrap();
    assert_eq!(curl(&shop.client, "http://10.96.0.1/ok"), "ok");
}

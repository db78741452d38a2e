//! Connections that end badly, and processes that die.

#![expect(clippy::unwrap_used, reason = "in a test, a failure's place is what matters")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use mesh_e2e::MOMENT;
use mesh_e2e::kernel::Objects;
use mesh_e2e::servers::NGINX_PORT;
use mesh_e2e::shop::{Shop, WEB};
use mesh_e2e::traffic::{Probe, accept, address, connect, curl, listen, outcome, reset};
use mesh_e2e::turns::{Report, Turns};
use mesh_harness::{Sniffer, until};

static LAB: Turns<Lab> = Turns::new(Lab::open);

const PROBE: &str = env!("CARGO_BIN_EXE_mesh-probe");
/// Where the servers of these tests listen.
const PORT: u16 = 7200;
/// More than the buffers of both sides together hold, so that it must be relayed while it is written.
const MUCH: usize = 20_000_000;

/// The shop, and a server at the end of each way that a connection can take.
struct Lab {
    shop: Shop,
    ways: Vec<Way>,
}

struct Way {
    name: &'static str,
    listener: TcpListener,
    address: SocketAddr,
}

impl Lab {
    fn open() -> Result<Self> {
        let mut shop = Shop::open()?;
        let mut ways = Vec::new();
        for (name, node, octet) in [("far", "node-b", 21), ("near", "node-a", 22)] {
            let workload = shop.mesh.add_pod(node, name)?;
            shop.mesh
                .enrol("shop", node, &workload, |manifest| manifest.port("raw", PORT))?;
            shop.add_service_with(name, octet, 80, PORT, 1)?;
            let address = address(&format!("10.96.0.{octet}:80"));
            ways.push(Way {
                name,
                listener: listen(&workload, PORT),
                address,
            });
        }
        let address = SocketAddr::new(shop.outsider.v4(), PORT);
        ways.push(Way {
            name: "outside",
            listener: listen(&shop.outsider, PORT),
            address,
        });
        Ok(Self { shop, ways })
    }

    /// A connection along a way: the client's end and the server's.
    fn pair(&self, way: &Way) -> (TcpStream, TcpStream) {
        let near = connect(&self.shop.client, way.address);
        (near, accept(&way.listener).0)
    }
}

impl Report for Lab {
    fn report(&self) -> String {
        self.shop.report()
    }
}

#[test]
fn a_half_close_by_the_client_leaves_the_other_direction_open() {
    let lab = LAB.take();
    for way in &lab.ways {
        let (mut near, mut far) = lab.pair(way);
        near.write_all(b"question").unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        assert_eq!(outcome(&mut far).unwrap(), b"question", "{}", way.name);
        thread::sleep(Duration::from_millis(200));
        far.write_all(b"answer").unwrap();
        let mut first = [0; 6];
        near.read_exact(&mut first).unwrap();
        let writer = thread::spawn(move || far.write_all(&vec![7; MUCH]));
        assert_eq!(outcome(&mut near).unwrap().len(), MUCH, "{}", way.name);
        writer.join().unwrap().unwrap();
    }
}

#[test]
fn a_half_close_by_the_server_leaves_the_other_direction_open() {
    let lab = LAB.take();
    for way in &lab.ways {
        let (mut near, mut far) = lab.pair(way);
        far.write_all(b"greeting").unwrap();
        far.shutdown(Shutdown::Write).unwrap();
        assert_eq!(outcome(&mut near).unwrap(), b"greeting", "{}", way.name);
        thread::sleep(Duration::from_millis(200));
        let writer = thread::spawn(move || near.write_all(&vec![7; MUCH]));
        assert_eq!(outcome(&mut far).unwrap().len(), MUCH, "{}", way.name);
        writer.join().unwrap().unwrap();
    }
}

#[test]
fn a_reset_by_the_client_reaches_the_server() {
    let lab = LAB.take();
    for way in &lab.ways {
        let (mut near, mut far) = lab.pair(way);
        near.write_all(b"x").unwrap();
        let mut byte = [0];
        far.read_exact(&mut byte).unwrap();
        reset(near);
        assert_eq!(outcome(&mut far), Err(ErrorKind::ConnectionReset), "{}", way.name);
    }
}

#[test]
fn a_reset_by_the_server_reaches_the_client() {
    let lab = LAB.take();
    for way in &lab.ways {
        let (mut near, mut far) = lab.pair(way);
        near.write_all(b"x").unwrap();
        let mut byte = [0];
        far.read_exact(&mut byte).unwrap();
        reset(far);
        assert_eq!(
            outcome(&mut near),
            Err(ErrorKind::ConnectionReset),
            "{}",
            way.name
        );
    }
}

#[test]
fn a_reset_reaches_a_peer_that_has_closed_its_own_direction() {
    let lab = LAB.take();
    for way in &lab.ways {
        let (near, far) = lab.pair(way);
        near.shutdown(Shutdown::Write).unwrap();
        let mut far = far;
        assert_eq!(outcome(&mut far).unwrap(), b"");
        reset(far);
        let mut near = near;
        assert_eq!(
            outcome(&mut near),
            Err(ErrorKind::ConnectionReset),
            "{}",
            way.name
        );
    }
}

#[test]
fn a_server_that_speaks_first_is_heard() {
    let lab = LAB.take();
    for way in &lab.ways {
        let (mut near, mut far) = lab.pair(way);
        let start = Instant::now();
        far.write_all(b"220 ready\r\n").unwrap();
        let mut greeting = [0; 11];
        near.read_exact(&mut greeting).unwrap();
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "{}: {:?}",
            way.name,
            start.elapsed()
        );
    }
}

#[test]
fn a_port_where_nobody_listens_is_reset() {
    let lab = LAB.take();
    for host in [lab.shop.web.v4(), lab.shop.neighbour.v4(), lab.shop.outsider.v4()] {
        let mut stream = connect(&lab.shop.client, SocketAddr::new(host, 7));
        assert_eq!(outcome(&mut stream), Err(ErrorKind::ConnectionReset), "{host}");
    }
}

/// Replaces the web server's Service by one at another address, and waits until the client reaches it.
fn prove_news_arrive(shop: &Shop, name: &str, octet: u8) {
    shop.mesh
        .manifests
        .service(
            &mesh_harness::manifest::ServiceManifest::new("shop", name)
                .selects("web")
                .address(&format!("10.96.0.{octet}"))
                .port(80, NGINX_PORT),
        )
        .unwrap();
    shop.a().wait_service(&format!("shop/{name}"), 1).unwrap();
    assert_eq!(curl(&shop.client, &format!("http://10.96.0.{octet}/ok")), "ok");
}

#[test]
fn the_mesh_goes_on_without_its_control_plane_and_nodes_restart_from_disk() {
    let mut lab = LAB.take();
    let load = Probe::start(PROBE, &lab.shop.web.clone(), &["steady", "10.96.0.1:80", "120"]);
    let (mut near, mut far) = lab.pair(&lab.ways[0]);
    lab.shop.mesh.control.kill().unwrap();
    near.write_all(b"x").unwrap();
    let mut byte = [0];
    far.read_exact(&mut byte).unwrap();
    assert_eq!(curl(&lab.shop.client, "http://10.96.0.1/ok"), "ok");
    // The client's node restarts, and so does the server's: neither can ask anybody.
    load.finish();
    lab.shop.a_mut().stop().unwrap();
    lab.shop.a_mut().start().unwrap();
    assert_eq!(curl(&lab.shop.client, "http://10.96.0.1/ok"), "ok");
    lab.shop.b_mut().stop().unwrap();
    lab.shop.b_mut().start().unwrap();
    assert_eq!(curl(&lab.shop.client, "http://10.96.0.1/ok"), "ok");
    assert_eq!(curl(&lab.shop.client, "http://10.96.0.2/ok"), "ok");
    let status = lab.shop.a().admin("/status").unwrap();
    assert_eq!(status["control"]["is_connected"], false, "{status}");
    // And when it is back, so are the news.
    lab.shop.mesh.control.start().unwrap();
    prove_news_arrive(&lab.shop, "web-news", 31);
}

#[test]
fn a_restarted_control_plane_is_reconnected_to_without_a_disturbance() {
    let mut lab = LAB.take();
    let load = Probe::start(PROBE, &lab.shop.client.clone(), &["steady", WEB, "120"]);
    lab.shop.mesh.control.stop().unwrap();
    lab.shop.mesh.control.start().unwrap();
    prove_news_arrive(&lab.shop, "web-later", 32);
    assert!(load.finish().starts_with("ok "));
}

#[test]
fn a_killed_node_fails_at_once_leaks_nothing_and_recovers_within_a_second() {
    let mut lab = LAB.take();
    assert_eq!(curl(&lab.shop.client, "http://10.96.0.1/ok"), "ok");
    let pins = lab.shop.a().pins().to_owned();
    let before = Objects::pinned(&pins).unwrap();
    let link = lab.shop.a().node.link.clone();
    let sniffer = Sniffer::start(&lab.shop.mesh.topology, &link).unwrap();
    lab.shop.a_mut().kill().unwrap();
    let web = lab.shop.web.v4();
    for target in [
        address(WEB),
        SocketAddr::new(web, NGINX_PORT),
        SocketAddr::new(lab.shop.outsider.v4(), PORT),
    ] {
        let start = Instant::now();
        let refused = lab
            .shop
            .client
            .place
            .connect(target, MOMENT)
            .unwrap()
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{target}");
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "{target}: {:?}",
            start.elapsed()
        );
    }
    let segments = sniffer.finish().unwrap();
    let own = &lab.shop.client.addresses;
    let opened = segments
        .iter()
        .find(|one| own.contains(&one.source.0) && one.destination.1 != 15008);
    assert!(
        opened.is_none(),
        "it left in the clear: {:?}",
        opened.map(|one| one.destination)
    );

    let start = Instant::now();
    lab.shop.a_mut().launch().unwrap();
    let client = lab.shop.client.clone();
    until("the first connection after the restart", MOMENT, || {
        let Ok(mut stream) = client.place.connect(address(WEB), MOMENT)? else {
            return Ok(None);
        };
        stream.write_all(b"GET /ok HTTP/1.0\r\n\r\n")?;
        Ok(outcome(&mut stream)
            .is_ok_and(|answer| answer.ends_with(b"ok"))
            .then_some(()))
    })
    .unwrap();
    let recovery = start.elapsed();
    mesh_e2e::report!("connections work {recovery:?} after the start");
    assert!(recovery < Duration::from_secs(1), "{recovery:?}");
    lab.shop.a_mut().wait_ready().unwrap();
    let after = Objects::pinned(&pins).unwrap();
    assert!(
        before.links.is_subset(&after.links),
        "a workload was enrolled anew: {before:?} {after:?}"
    );
}

#[test]
fn a_start_that_fails_leaves_captured_workloads_captured() {
    let mut lab = LAB.take();
    assert_eq!(curl(&lab.shop.client, "http://10.96.0.1/ok"), "ok");
    let pins = lab.shop.a().pins().to_owned();
    let before = Objects::pinned(&pins).unwrap();
    lab.shop.a_mut().kill().unwrap();
    let admin = SocketAddr::from(([127, 0, 0, 1], 15000));
    let taken = lab.shop.a().node.proxy.listen(admin).unwrap();
    let failed = lab.shop.a().command(&[], MOMENT).unwrap();
    let said = failed.success().unwrap_err().to_string();
    assert!(said.contains("admin.address"), "{said}");
    assert!(before.links.is_subset(&Objects::pinned(&pins).unwrap().links));
    let web = SocketAddr::new(lab.shop.web.v4(), NGINX_PORT);
    let refused = lab.shop.client.place.connect(web, MOMENT).unwrap();
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    drop(taken);
    lab.shop.a_mut().start().unwrap();
    assert_eq!(curl(&lab.shop.client, "http://10.96.0.1/ok"), "ok");
}

#[test]
fn a_stop_drains_open_connections_within_its_deadline() {
    let mut lab = LAB.take();
    for node in 0..2 {
        let (mut near, mut far) = lab.pair(&lab.ways[0]);
        near.write_all(b"a").unwrap();
        let mut byte = [0];
        far.read_exact(&mut byte).unwrap();
        let start = Instant::now();
        let process = lab.shop.mesh.nodes[node].process().unwrap();
        process.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
        thread::sleep(Duration::from_millis(500));
        near.write_all(b"b").unwrap();
        far.read_exact(&mut byte).unwrap();
        far.write_all(b"c").unwrap();
        near.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"c", "open connections go on while a node drains");
        let status = process.wait(MOMENT).unwrap();
        assert!(status.success(), "{status}");
        let elapsed = start.elapsed();
        assert!(
            (Duration::from_secs(1)..Duration::from_secs(4)).contains(&elapsed),
            "the deadline is 2 s: {elapsed:?}"
        );
        assert!(
            outcome(&mut near).is_err() || outcome(&mut far).is_err(),
            "a cut connection does not look finished"
        );
        lab.shop.mesh.nodes[node].stop().unwrap_or_default();
        lab.shop.mesh.nodes[node].start().unwrap();
        assert_eq!(curl(&lab.shop.client, "http://10.96.0.1/ok"), "ok");
    }
}

#[test]
fn a_stop_without_open_connections_does_not_wait() {
    let mut lab = LAB.take();
    let start = Instant::now();
    lab.shop.b_mut().stop().unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let mut stream = connect(&lab.shop.client, address(WEB));
    assert_eq!(
        outcome(&mut stream),
        Err(ErrorKind::ConnectionReset),
        "no proxy at the other node, no connection"
    );
    lab.shop.b_mut().start().unwrap();
    assert_eq!(curl(&lab.shop.client, "http://10.96.0.1/ok"), "ok");
}

//! What is captured, what is left alone, and who the mesh takes it for.

#![expect(clippy::unwrap_used, reason = "in a test, a failure's place is what matters")]

use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use mesh_e2e::kernel::{Objects, namespaces_of};
use mesh_e2e::servers::{self, NGINX_PORT};
use mesh_e2e::shop::{EXCLUDED_PORT, NEIGHBOUR, Shop, WEB, WEB_V6, opened};
use mesh_e2e::traffic::{accept, address, curl, listen, outcome};
use mesh_e2e::turns::Turns;
use mesh_e2e::{LONG, MOMENT};
use mesh_harness::manifest::WorkloadManifest;
use mesh_harness::{Workload, until};

static SHOP: Turns<Shop> = Turns::new(Shop::open);

/// Where connections that are captured are delivered (ARCHITECTURE.md: ports).
const OUTBOUND_PORT: u16 = 15001;
const TUNNEL_PORT: u16 = 15008;
const PROBE: &str = env!("CARGO_BIN_EXE_mesh-probe");

/// Whether a connection of `from` to the outsider goes through the proxy, which makes one of its own.
fn is_captured(shop: &Shop, from: &Workload, port: u16) -> bool {
    let listener = listen(&shop.outsider, port);
    let near = from
        .place
        .connect(SocketAddr::new(shop.outsider.v4(), port), MOMENT)
        .unwrap()
        .unwrap();
    let (_far, peer) = accept(&listener);
    assert_eq!(peer.ip(), from.v4(), "the workload's address is kept either way");
    near.local_addr().unwrap().port() != peer.port()
}

#[test]
fn a_process_that_is_not_enrolled_is_untouched() {
    let shop = SHOP.take();
    let before = opened(shop.a(), "outbound");
    assert!(!is_captured(&shop, &shop.stranger, 7001));
    let direct = format!("http://{}:{NGINX_PORT}/whoami", shop.web.v4());
    assert_eq!(curl(&shop.stranger, &direct), shop.stranger.v4().to_string());
    let vip = shop
        .stranger
        .place
        .connect(address(WEB), Duration::from_secs(1))
        .unwrap();
    assert!(vip.is_err(), "a Service's address means nothing without the mesh");
    assert!((opened(shop.a(), "outbound") - before).abs() < f64::EPSILON);
}

#[test]
fn an_enrolled_process_reaches_a_service_on_the_other_node() {
    let shop = SHOP.take();
    let mark = shop.a().log().len();
    assert_eq!(curl(&shop.client, "http://10.96.0.1/ok"), "ok");
    assert_eq!(curl(&shop.client, "http://[fd00:96::1]/ok"), "ok");
    let parts = [
        "direction=outbound",
        "workload=shop/client",
        "service=shop/web",
        "transport=hbone",
    ];
    let line = shop.a().wait_log(mark, &parts, MOMENT).unwrap();
    assert!(line.contains("spiffe://cluster.local/ns/shop/sa/web"), "{line}");
    let parts = ["direction=inbound", "spiffe://cluster.local/ns/shop/sa/client"];
    shop.b().wait_log(0, &parts, MOMENT).unwrap();
}

#[test]
fn the_client_sees_the_address_that_it_asked_for() {
    let shop = SHOP.take();
    for (asked, own) in [
        (WEB, shop.client.v4()),
        (WEB_V6, shop.client.v6()),
        (NEIGHBOUR, shop.client.v4()),
    ] {
        let stream = shop
            .client
            .place
            .connect(address(asked), MOMENT)
            .unwrap()
            .unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address(asked));
        assert_eq!(stream.local_addr().unwrap().ip(), own);
        let probe = shop
            .client
            .place
            .program_at("probe", Path::new(PROBE))
            .args(["peer", asked]);
        let text = probe.run(MOMENT).unwrap().success().unwrap().text();
        assert_eq!(text.split(' ').next(), Some(asked), "{text}");
    }
}

#[test]
fn an_ipv4_address_in_an_ipv6_socket_is_captured() {
    let shop = SHOP.take();
    let mark = shop.a().log().len();
    let mapped = address("[::ffff:10.96.0.1]:80");
    let mut stream = shop.client.place.connect(mapped, MOMENT).unwrap().unwrap();
    assert_eq!(stream.peer_addr().unwrap(), mapped);
    stream.write_all(b"GET /ok HTTP/1.0\r\n\r\n").unwrap();
    let answer = outcome(&mut stream).unwrap();
    assert!(
        answer.ends_with(b"\r\n\r\nok"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    drop(stream); // its own direction was still open
    shop.a()
        .wait_log(
            mark,
            &["workload=shop/client", "service=shop/web", "transport=hbone"],
            MOMENT,
        )
        .unwrap();
}

#[test]
fn a_connection_straight_to_a_port_of_the_mesh_is_refused() {
    let shop = SHOP.take();
    for port in [OUTBOUND_PORT, TUNNEL_PORT] {
        for to in [shop.client.v4(), shop.web.v4(), shop.client.v6()] {
            let refused = shop
                .client
                .place
                .connect(SocketAddr::new(to, port), MOMENT)
                .unwrap();
            assert_eq!(
                refused.unwrap_err().raw_os_error(),
                Some(libc::EPERM),
                "{to} {port}"
            );
        }
    }
    let mark = shop.a().log().len();
    for from in [&shop.stranger, &shop.outsider] {
        for to in shop.client.addresses {
            match from
                .place
                .connect(SocketAddr::new(to, OUTBOUND_PORT), MOMENT)
                .unwrap()
            {
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{} {to}", from.name),
                Ok(mut stream) => match outcome(&mut stream) {
                    Err(kind) => assert_eq!(kind, ErrorKind::ConnectionReset, "{} {to}", from.name),
                    Ok(bytes) => panic!("{} got {bytes:?} from {to}", from.name),
                },
            }
        }
    }
    shop.a()
        .wait_log(mark, &["no captured connection has this source address"], MOMENT)
        .unwrap();
    let failed = shop.a().metrics().unwrap().sum(
        "mesh_node_connections_failed_total",
        &[("reason", "not_captured")],
    );
    assert!(failed >= 4.0, "{failed}");
}

#[test]
fn a_workload_reaches_its_own_service() {
    let shop = SHOP.take();
    assert_eq!(curl(&shop.neighbour, "http://10.96.0.2/ok"), "ok");
    assert_eq!(curl(&shop.neighbour, "http://[fd00:96::2]/ok"), "ok");
    let own = format!("http://{}:{NGINX_PORT}/ok", shop.neighbour.v4());
    assert_eq!(curl(&shop.neighbour, &own), "ok");
}

#[test]
fn a_service_on_the_same_node_is_reached_without_tls() {
    let shop = SHOP.take();
    let mark = shop.a().log().len();
    let before = shop.a().metrics().unwrap();
    assert_eq!(curl(&shop.client, "http://10.96.0.2/ok"), "ok");
    let parts = [
        "workload=shop/client",
        "service=shop/neighbour",
        "transport=local",
    ];
    let line = shop.a().wait_log(mark, &parts, MOMENT).unwrap();
    assert!(
        line.contains("spiffe://cluster.local/ns/shop/sa/neighbour"),
        "{line}"
    );
    let after = shop.a().metrics().unwrap();
    let handshakes = |metrics: &mesh_harness::Metrics| metrics.sum("mesh_node_tls_handshakes_total", &[]);
    assert!((handshakes(&after) - handshakes(&before)).abs() < f64::EPSILON);
}

#[test]
fn excluded_ports_and_networks_are_left_alone() {
    let shop = SHOP.take();
    let before = opened(shop.a(), "outbound");
    assert!(!is_captured(&shop, &shop.client, EXCLUDED_PORT));
    shop.outsider
        .place
        .netns()
        .configure("addr replace 10.0.7.1/32 dev lo\n")
        .unwrap();
    shop.a()
        .node
        .proxy
        .netns()
        .configure(&format!("route replace 10.0.7.1 via {}\n", shop.outsider.v4()))
        .unwrap();
    let listener = listen(&shop.outsider, 7002);
    let near = shop
        .client
        .place
        .connect(address("10.0.7.1:7002"), MOMENT)
        .unwrap()
        .unwrap();
    let (_far, peer) = accept(&listener);
    assert_eq!(near.local_addr().unwrap(), peer);
    assert!((opened(shop.a(), "outbound") - before).abs() < f64::EPSILON);
}

#[test]
fn an_unknown_destination_is_passed_through_with_the_workloads_address() {
    let shop = SHOP.take();
    let mark = shop.a().log().len();
    for own in shop.outsider.addresses {
        let listener = listen(&shop.outsider, 7003);
        let at = SocketAddr::new(own, 7003);
        let mut near = shop.client.place.connect(at, MOMENT).unwrap().unwrap();
        assert_eq!(near.peer_addr().unwrap(), at);
        let (mut far, peer) = accept(&listener);
        assert!(shop.client.addresses.contains(&peer.ip()), "came as {peer}");
        assert_ne!(
            near.local_addr().unwrap().port(),
            peer.port(),
            "it did not pass the proxy"
        );
        near.write_all(b"there").unwrap();
        near.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(outcome(&mut far).unwrap(), b"there");
        far.write_all(b"and back").unwrap();
        drop(far);
        assert_eq!(outcome(&mut near).unwrap(), b"and back");
        let destination = format!("destination={at}");
        shop.a()
            .wait_log(
                mark,
                &["workload=shop/client", &destination, "transport=plaintext"],
                MOMENT,
            )
            .unwrap();
    }
}

#[test]
fn a_service_without_endpoints_is_reset_at_once_and_named_in_the_log() {
    let shop = SHOP.take();
    shop.add_service_with("empty", 9, 80, NGINX_PORT, 0).unwrap();
    let mark = shop.a().log().len();
    let start = Instant::now();
    let mut stream = shop
        .client
        .place
        .connect(address("10.96.0.9:80"), MOMENT)
        .unwrap()
        .unwrap();
    let asked = Instant::now();
    assert_eq!(outcome(&mut stream), Err(ErrorKind::ConnectionReset));
    assert!(
        asked.elapsed() < Duration::from_secs(1),
        "{:?}, from the start {:?}",
        asked.elapsed(),
        start.elapsed()
    );
    shop.a()
        .wait_log(mark, &["shop/empty", "has no ready endpoint"], MOMENT)
        .unwrap();
    assert_eq!(curl(&shop.client, "http://10.96.0.1/ok"), "ok");
}

#[test]
fn host_network_workloads_of_one_node_are_told_apart() {
    let mut shop = SHOP.take();
    let folder = shop.folder();
    // As clients, by their cgroup.
    for (name, port) in [("agent-1", 7111), ("agent-2", 7112)] {
        let agent = shop.mesh.add_host_workload("node-a", name).unwrap();
        shop.mesh
            .enrol("shop", "node-a", &agent, |workload| workload.port("own", port))
            .unwrap();
        let mark = shop.b().log().len();
        assert_eq!(curl(&agent, "http://10.96.0.1/ok"), "ok");
        let peer = format!("spiffe://cluster.local/ns/shop/sa/{name}");
        shop.b()
            .wait_log(mark, &["direction=inbound", &peer], MOMENT)
            .unwrap();
        let asked = agent.place.connect(address(WEB), MOMENT).unwrap().unwrap();
        assert_eq!(asked.peer_addr().unwrap(), address(WEB));
        assert_eq!(curl(&agent, "http://10.96.0.2/ok"), "ok");
    }
    // As servers, by their port: nginx at 8080 and a listener at 7101, both at the node's address.
    let host_web = shop.mesh.add_host_workload("node-b", "host-web").unwrap();
    let host_echo = shop.mesh.add_host_workload("node-b", "host-echo").unwrap();
    let server = servers::nginx(&host_web, &folder).unwrap();
    shop.servers.push(server);
    let listener = listen(&host_echo, 7101);
    shop.mesh
        .enrol("shop", "node-b", &host_web, |workload| {
            workload.port("http", NGINX_PORT)
        })
        .unwrap();
    shop.mesh
        .enrol("shop", "node-b", &host_echo, |workload| {
            workload.port("echo", 7101)
        })
        .unwrap();
    shop.add_service_with("host-web", 3, 80, NGINX_PORT, 1).unwrap();
    shop.add_service_with("host-echo", 4, 80, 7101, 1).unwrap();
    let mark = shop.a().log().len();
    assert_eq!(curl(&shop.client, "http://10.96.0.3/ok"), "ok");
    let peer = "spiffe://cluster.local/ns/shop/sa/host-web";
    shop.a()
        .wait_log(mark, &["service=shop/host-web", peer, "transport=hbone"], MOMENT)
        .unwrap();
    let mut near = shop
        .client
        .place
        .connect(address("10.96.0.4:80"), MOMENT)
        .unwrap()
        .unwrap();
    let (mut far, _) = accept(&listener);
    far.write_all(b"greetings").unwrap();
    drop(far);
    assert_eq!(outcome(&mut near).unwrap(), b"greetings");
    drop(near);
    let peer = "spiffe://cluster.local/ns/shop/sa/host-echo";
    shop.a()
        .wait_log(mark, &["service=shop/host-echo", peer, "transport=hbone"], MOMENT)
        .unwrap();
    // And to themselves, and from one to the other on the same node.
    assert_eq!(curl(&host_web, "http://10.96.0.3/ok"), "ok");
    assert_eq!(curl(&host_echo, "http://10.96.0.3/ok"), "ok");
}

#[test]
fn a_workload_that_leaves_the_manifests_is_released_and_taken_back() {
    let mut shop = SHOP.take();
    let guest = shop.mesh.add_pod("node-a", "guest").unwrap();
    shop.mesh
        .enrol("shop", "node-a", &guest, |workload| workload)
        .unwrap();
    assert!(is_captured(&shop, &guest, 7004));
    shop.mesh.manifests.remove("workload-shop-guest.yaml").unwrap();
    shop.a().wait_released("shop/guest").unwrap();
    assert!(!is_captured(&shop, &guest, 7005));
    assert!(is_captured(&shop, &shop.client, 7006), "the others stay");
    shop.mesh
        .enrol("shop", "node-a", &guest, |workload| workload)
        .unwrap();
    assert!(is_captured(&shop, &guest, 7007));
    assert_eq!(curl(&guest, "http://10.96.0.1/ok"), "ok");
}

#[test]
fn a_cgroup_that_is_made_anew_is_enrolled_again() {
    let mut shop = SHOP.take();
    let phoenix = shop.mesh.add_pod("node-a", "phoenix").unwrap();
    shop.mesh
        .enrol("shop", "node-a", &phoenix, |workload| workload)
        .unwrap();
    phoenix.remove_cgroup().unwrap();
    shop.a().wait_released("shop/phoenix").unwrap();
    phoenix.create_cgroup().unwrap();
    shop.a().wait_captured("shop/phoenix").unwrap();
    assert_eq!(curl(&phoenix, "http://10.96.0.1/ok"), "ok");
}

#[test]
fn a_network_namespace_is_found_through_the_cgroups_processes() {
    let mut shop = SHOP.take();
    let nameless = shop.mesh.add_pod("node-a", "nameless").unwrap();
    let manifest = WorkloadManifest::new("shop", "node-a", &nameless).network_namespace_by_cgroup();
    shop.mesh.manifests.workload(&manifest).unwrap();
    let _process = nameless
        .place
        .program("sleep")
        .unwrap()
        .arg("300")
        .spawn()
        .unwrap();
    shop.a().wait_captured("shop/nameless").unwrap();
    assert_eq!(curl(&nameless, "http://10.96.0.1/ok"), "ok");
}

/// Ports that something of a namespace listens at, of the mesh's.
fn mesh_listeners(workload: &Workload) -> Vec<u16> {
    let ports = [15000, 15001, 15006, 15008, 15020, 15021];
    ports
        .into_iter()
        .filter(|port| workload.place.wait_listening(*port, Duration::ZERO).is_ok())
        .collect()
}

#[test]
fn after_a_normal_stop_nothing_of_ours_is_left() {
    let mut shop = Shop::open().unwrap();
    let agent = shop.mesh.add_host_workload("node-a", "agent").unwrap();
    shop.mesh
        .enrol("shop", "node-a", &agent, |workload| workload.port("unused", 7100))
        .unwrap();
    assert_eq!(curl(&shop.client, "http://10.96.0.1/ok"), "ok");
    let pins = shop.a().pins().to_owned();
    let during = Objects::pinned(&pins).unwrap();
    assert!(during.links.len() >= 4 && during.maps.len() >= 2, "{during:?}");
    assert_eq!(during.common(&Objects::all().unwrap()), during);
    assert!(!mesh_listeners(&shop.client).is_empty() && !mesh_listeners(&agent).is_empty());
    let prefix = shop.mesh.topology.prefix().to_owned();
    let namespaces = namespaces_of(&prefix).unwrap();
    shop.a_mut().stop().unwrap();
    let left = Objects::pinned(&pins).map(|objects| objects.count());
    assert!(!pins.exists(), "pins are left: {left:?}\n{}", shop.a().log_tail());
    let left = until("the kernel to let go of our objects", MOMENT, || {
        Ok(Some(during.common(&Objects::all()?)).filter(|left| left.count() == 0))
    });
    left.unwrap_or_else(|error| panic!("{error}: {:?}", during.common(&Objects::all().unwrap())));
    for workload in [&shop.client, &shop.neighbour, &agent] {
        assert_eq!(mesh_listeners(workload), Vec::<u16>::new(), "{}", workload.name);
    }
    assert_eq!(namespaces_of(&prefix).unwrap(), namespaces);
    let proxy = shop.a().node.proxy.cgroup().to_owned();
    assert_eq!(shop.a().node.proxy.processes().unwrap(), Vec::<u32>::new());
    let children = std::fs::read_dir(proxy)
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().is_dir());
    assert_eq!(children.count(), 0, "child cgroups are left");
    // And the workloads are as they were before the mesh.
    assert!(!is_captured(&shop, &shop.client, 7008));
    let direct = format!("http://{}:{NGINX_PORT}/ok", shop.web.v4());
    assert_eq!(curl(&shop.client, &direct), "ok");
}

#[test]
fn capture_can_be_kept_over_a_stop() {
    let settings = mesh_harness::node::NodeSettings {
        on_stop: "keep".to_owned(),
        ..Shop::node_settings()
    };
    let mut shop = Shop::open_with(mesh_harness::Mesh::builder().node_settings(settings)).unwrap();
    shop.a_mut().stop().unwrap();
    let refused = shop
        .client
        .place
        .connect(address(WEB), MOMENT)
        .unwrap()
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let outside = SocketAddr::new(shop.outsider.v4(), 7009);
    let _listener = listen(&shop.outsider, 7009);
    assert_eq!(
        shop.client
            .place
            .connect(outside, MOMENT)
            .unwrap()
            .unwrap_err()
            .kind(),
        ErrorKind::ConnectionRefused,
        "what the mesh would pass through is held back as well"
    );
    shop.a_mut().start().unwrap();
    until("connections to work again", LONG, || {
        Ok(shop
            .client
            .place
            .connect(address(WEB), MOMENT)?
            .is_ok()
            .then_some(()))
    })
    .unwrap();
    assert_eq!(curl(&shop.client, "http://10.96.0.1/ok"), "ok");
}

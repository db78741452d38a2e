//! What goes past the proxy, and what is told of it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use mesh_e2e::servers::{self, REDIS_PORT};
use mesh_e2e::traffic::{accept, address, connect, listen, reset};
use mesh_e2e::{LONG, MOMENT, report};
use mesh_harness::manifest::{ServiceManifest, WorkloadManifest};
use mesh_harness::until;
use nix::sys::signal::Signal;

use super::yard::{DB, DB_V6, NAMESPACE, PORT, YARD, direct, line, pair, settled, sum};

#[test]
fn the_second_connection_goes_past_the_proxy_and_is_told_of_like_any_other() {
    let yard = YARD.take();
    yard.restore().unwrap();
    yard.direct(DB).close();
    let before = settled(yard.a());
    let mark = yard.a().log().len();
    let mut line = yard.line(DB);
    assert!(line.is_direct);
    assert_eq!(line.near.peer_addr().unwrap(), address(DB), "what was asked for");
    assert_eq!(line.near.local_addr().unwrap().ip(), yard.client.v4());
    // The proxy has no part in it, whatever it carries.
    let megabyte = vec![7; 1 << 20];
    let sent = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut all = vec![0; megabyte.len()];
            line.far.read_exact(&mut all).unwrap();
            all
        });
        line.near.write_all(&megabyte).unwrap();
        reader.join().unwrap()
    });
    assert!(sent == megabyte);
    let open = until("the connection to be listed", MOMENT, || {
        let all = yard.a().admin("/connections")?;
        let source = line.near.local_addr()?.to_string();
        let mut all = all.as_array().into_iter().flatten();
        Ok(all.find(|one| one["source"] == source).cloned())
    })
    .unwrap();
    assert_eq!(open["transport"], "direct", "{open}");
    assert_eq!(open["destination"], DB);
    assert_eq!(open["service"], "shop/db");
    assert_eq!(open["workload"], "shop/client");
    assert_eq!(open["peer"], "spiffe://cluster.local/ns/shop/sa/db-0");
    assert_eq!(
        open["endpoint"],
        SocketAddr::new(yard.db[0].v4(), PORT).to_string()
    );
    assert_eq!(yard.pair(DB).unwrap().unwrap()["open_connections"], 1);
    let meshctl = yard.a().node.proxy.our_program("meshctl").unwrap();
    let shown = meshctl
        .arg("direct")
        .run(MOMENT)
        .unwrap()
        .success()
        .unwrap()
        .text();
    let endpoint = format!("{}:{PORT}", yard.db[0].v4());
    let row = shown.lines().find(|line| line.contains("shop/db")).unwrap();
    assert!(row.contains("shop/client") && row.ends_with(&endpoint), "{shown}");
    line.close();

    let endpoint = format!("endpoint={}:{PORT}", yard.db[0].v4());
    let parts = [
        "connection complete",
        "workload=shop/client",
        "service=shop/db",
        "transport=direct",
    ];
    let found = yard.a().wait_log(
        mark,
        &[&parts[..], &[&endpoint, "bytes_sent=1048579"]].concat(),
        MOMENT,
    );
    let found = found.unwrap();
    assert!(found.contains("bytes_received=6"), "{found}");
    assert!(found.contains("destination=10.96.0.11:5432"), "{found}");
    let after = yard.a().metrics().unwrap();
    let grown = |name: &str, transport: &str| sum(&after, name, transport) - sum(&before, name, transport);
    assert_eq!(grown("connections_opened", "direct"), 1);
    assert_eq!(grown("connections_closed", "direct"), 1);
    assert_eq!(grown("sent_bytes", "direct"), 1_048_579);
    assert_eq!(grown("received_bytes", "direct"), 6);
    assert_eq!(grown("sent_bytes", "local"), 0, "the proxy carried some");
}

#[test]
fn long_connections_are_counted_before_they_end() {
    let yard = YARD.take();
    yard.restore().unwrap();
    let mut line = yard.direct(DB);
    line.near.write_all(&[1; 1000]).unwrap();
    line.far.read_exact(&mut [0; 1000]).unwrap();
    let source = line.near.local_addr().unwrap().to_string();
    until("the bytes so far to be told", MOMENT, || {
        let all = yard.a().admin("/connections")?;
        let mut all = all.as_array().into_iter().flatten();
        let one = all
            .find(|one| one["source"] == source)
            .cloned()
            .unwrap_or_default();
        Ok((one["sent_bytes"] == 1003 && one["received_bytes"] == 6).then_some(()))
    })
    .unwrap();
    line.close();
}

#[test]
fn both_families_and_both_kinds_of_address_go_past_the_proxy() {
    let yard = YARD.take();
    yard.restore().unwrap();
    let own = SocketAddr::new(yard.db[0].v4(), PORT).to_string();
    let own_v6 = SocketAddr::new(yard.db[0].v6(), PORT).to_string();
    for to in [DB_V6, &own, &own_v6, "[::ffff:10.96.0.11]:5432"] {
        let mut line = yard.direct(to);
        assert_eq!(line.near.peer_addr().unwrap(), address(to), "{to}");
        line.works();
        line.close();
    }
}

#[test]
fn nothing_is_needed_of_the_proxy_while_its_lease_lasts_and_nothing_goes_past_it_afterwards() {
    let mut yard = YARD.take();
    yard.restore().unwrap();
    yard.direct(DB).close();
    yard.mesh.nodes[0]
        .process()
        .unwrap()
        .signal(Signal::SIGSTOP)
        .unwrap();
    let mut early = line(&yard.client, address(DB), &yard.listeners[0]);
    assert!(early.is_direct, "the proxy stands still");
    early.works();
    // Three seconds, of which some have passed.
    std::thread::sleep(Duration::from_millis(3_200));
    let mut late = connect(&yard.client, address(DB));
    late.write_all(b"ask").unwrap();
    yard.listeners[0].set_nonblocking(true).unwrap();
    let arrived = yard.listeners[0].accept().map_err(|error| error.kind());
    assert!(
        matches!(arrived, Err(ErrorKind::WouldBlock)),
        "{arrived:?} though the lease is over"
    );
    early.works();
    yard.mesh.nodes[0]
        .process()
        .unwrap()
        .signal(Signal::SIGCONT)
        .unwrap();
    let (mut far, peer) = accept(&yard.listeners[0]);
    assert_ne!(
        late.local_addr().unwrap().port(),
        peer.port(),
        "it went to the proxy"
    );
    far.read_exact(&mut [0; 3]).unwrap();
    early.close();
}

#[test]
fn a_refusal_is_the_endpoints_own() {
    let yard = YARD.take();
    yard.restore().unwrap();
    let own = SocketAddr::new(yard.db[0].v4(), 7401);
    let listener = listen(&yard.db[0], 7401);
    let line = direct(yard.a(), &yard.client, own, &listener);
    line.close();
    drop(listener);
    let mark = yard.a().log().len();
    let refused = yard.client.place.connect(own, MOMENT).unwrap();
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let parts = [
        "connection failed",
        "workload=shop/client",
        "transport=direct",
        "reason=connect",
    ];
    yard.a().wait_log(mark, &parts, MOMENT).unwrap();
    let listener = listen(&yard.db[0], 7401);
    assert!(
        super::yard::line(&yard.client, own, &listener).is_direct,
        "one endpoint goes on"
    );
}

#[test]
fn a_connection_that_breaks_is_told_as_one() {
    let yard = YARD.take();
    yard.restore().unwrap();
    let line = yard.direct(DB);
    let mark = yard.a().log().len();
    reset(line.near);
    let parts = [
        "connection failed",
        "service=shop/db",
        "transport=direct",
        "reason=broken",
    ];
    yard.a().wait_log(mark, &parts, MOMENT).unwrap();
}

#[test]
fn the_meshs_ports_stay_out_of_reach() {
    let yard = YARD.take();
    yard.restore().unwrap();
    yard.direct(DB).close();
    for port in [15001, 15006, 15008] {
        let at = SocketAddr::new(yard.db[0].v4(), port);
        let refused = yard.client.place.connect(at, MOMENT).unwrap();
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EPERM), "{port}");
    }
}

#[test]
fn host_network_workloads_are_clients_and_servers_too() {
    let mut yard = YARD.take();
    yard.restore().unwrap();
    let agent = yard.mesh.add_host_workload("node-a", "agent").unwrap();
    let sink = yard.mesh.add_host_workload("node-a", "sink").unwrap();
    for (workload, port) in [(&agent, 7411), (&sink, 7412)] {
        yard.mesh
            .enrol(NAMESPACE, "node-a", workload, |manifest| {
                manifest.port("own", port)
            })
            .unwrap();
    }
    let service = ServiceManifest::new(NAMESPACE, "sink")
        .address("10.96.0.12")
        .port(80, 7412);
    yard.mesh.manifests.service(&service).unwrap();
    yard.a().wait_service("shop/sink", 1).unwrap();
    let listener = listen(&sink, 7412);
    // Pod to host, host to itself, host to pod.
    direct(yard.a(), &yard.client, address("10.96.0.12:80"), &listener).close();
    let line = direct(yard.a(), &agent, address("10.96.0.12:80"), &listener);
    assert_eq!(line.near.peer_addr().unwrap(), address("10.96.0.12:80"));
    line.close();
    direct(yard.a(), &agent, address(DB), &yard.listeners[0]).close();
    let listed = pair(yard.a(), "shop/agent", address(DB)).unwrap().unwrap();
    assert_eq!(listed["service"], "shop/db", "{listed}");
    for name in ["agent", "sink"] {
        yard.mesh
            .manifests
            .remove(&format!("workload-shop-{name}.yaml"))
            .unwrap();
        yard.a().wait_released(&format!("shop/{name}")).unwrap();
    }
}

#[test]
fn every_one_of_many_short_connections_is_told_of() {
    const REQUESTS: u64 = 20_000;
    let yard = YARD.take();
    yard.restore().unwrap();
    let folder = yard.mesh.topology.folder().to_owned();
    let _redis = servers::redis(&yard.db[1], &folder).unwrap();
    let manifest = WorkloadManifest::new(NAMESPACE, "node-a", &yard.db[1]).port("sql", PORT);
    yard.mesh
        .manifests
        .workload(&manifest.port("redis", REDIS_PORT))
        .unwrap();
    let at = SocketAddr::new(yard.db[1].v4(), REDIS_PORT);
    drop(connect(&yard.client, at));
    until("the grant", MOMENT, || {
        let pair = pair(yard.a(), "shop/client", at)?.unwrap_or_default();
        Ok(pair["endpoints"]
            .as_array()
            .filter(|all| !all.is_empty())
            .map(drop))
    })
    .unwrap();
    let before = settled(yard.a());
    let (host, port, count) = (at.ip().to_string(), at.port().to_string(), REQUESTS.to_string());
    let arguments = [
        "-h", &host, "-p", &port, "-c", "20", "-n", &count, "-k", "0", "-t", "set", "-q",
    ];
    let said = yard
        .client
        .place
        .run("redis-benchmark", &arguments, LONG)
        .unwrap();
    report!("{}", said.success().unwrap().text().trim());
    let after = settled(yard.a());
    let grown = |name: &str, transport: &str| sum(&after, name, transport) - sum(&before, name, transport);
    let opened = grown("connections_opened", "direct");
    // redis-benchmark asks for the server's configuration first.
    assert!((REQUESTS..REQUESTS + 100).contains(&opened), "{opened}");
    assert_eq!(grown("sent_bytes", "local"), 0);
    let open = yard.a().admin("/connections").unwrap();
    let mut open = open.as_array().unwrap().iter();
    assert!(open.all(|one| one["destination"] != at.to_string()), "{open:?}");
}

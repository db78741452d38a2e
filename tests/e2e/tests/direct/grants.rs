//! Which connections go past the proxy and which do not, and to which endpoints.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use mesh_e2e::MOMENT;
use mesh_e2e::traffic::{accept, address, connect, listen};
use mesh_harness::manifest::ServiceManifest;
use mesh_harness::until;

use super::yard::{DB, NAMESPACE, PORT, YARD, pair};

#[test]
fn endpoints_elsewhere_and_protocols_that_are_looked_into_are_never_granted() {
    let yard = YARD.take();
    yard.restore().unwrap();
    let far = listen(&yard.far, PORT);
    let cases = [
        ("remote", "10.96.0.21", "far", Some("tcp"), "is on another node"),
        ("unsaid", "10.96.0.22", "db-0", None, "declares no protocol"),
    ];
    for (name, ip, app, protocol, reason) in cases {
        let service = ServiceManifest::new(NAMESPACE, name).address(ip).selects(app);
        let service = service.named_port("main", 5432, PORT, protocol);
        yard.mesh.manifests.service(&service).unwrap();
        yard.a().wait_service(&format!("shop/{name}"), 1).unwrap();
        let to: SocketAddr = format!("{ip}:5432").parse().unwrap();
        for _ in 0..5 {
            let listener = if app == "far" { &far } else { &yard.listeners[0] };
            let near = connect(&yard.client, to);
            std::io::Write::write_all(&mut &near, b"no HTTP at all\n").unwrap();
            let (_far, peer) = accept(listener);
            assert_ne!(
                near.local_addr().unwrap().port(),
                peer.port(),
                "{name} is past the proxy"
            );
        }
        // A tunnel is not even looked at.
        if app != "far" {
            yard.wait_withheld(&to.to_string(), reason);
        }
        yard.mesh
            .manifests
            .remove(&format!("service-shop-{name}.yaml"))
            .unwrap();
    }
}

#[test]
fn a_service_does_not_lead_to_the_meshs_ports() {
    let yard = YARD.take();
    yard.restore().unwrap();
    let service = ServiceManifest::new(NAMESPACE, "trick")
        .address("10.96.0.23")
        .selects("db-0");
    yard.mesh.manifests.service(&service.port(80, 15008)).unwrap();
    yard.a().wait_service("shop/trick", 1).unwrap();
    let to = address("10.96.0.23:80");
    // Whatever becomes of it, by way of the proxy.
    drop(connect(&yard.client, to));
    until("the reason", MOMENT, || {
        let pair = pair(yard.a(), "shop/client", to)?.unwrap_or_default();
        let withheld = pair["withheld"].as_str().unwrap_or_default().to_owned();
        Ok(withheld.contains("the mesh's own ports").then_some(()))
    })
    .unwrap();
    yard.mesh.manifests.remove("service-shop-trick.yaml").unwrap();
}

#[test]
fn endpoints_share_by_weight() {
    const CONNECTIONS: u32 = 400;
    let yard = YARD.take();
    yard.restore().unwrap();
    yard.label(&yard.db[0], "node-a", "both", 3).unwrap();
    yard.label(&yard.db[1], "node-a", "both", 1).unwrap();
    yard.behind("both", 2).unwrap();
    // The first goes to either of them.
    let near = connect(&yard.client, address(DB));
    yard.wait_granted(DB, 2);
    drop(near);
    for listener in &yard.listeners {
        listener.set_nonblocking(true).unwrap();
        while listener.accept().is_ok() {}
    }
    let mut ports = BTreeMap::new();
    for _ in 0..CONNECTIONS {
        let near = connect(&yard.client, address(DB));
        ports.insert(near.local_addr().unwrap().port(), near);
    }
    let mut counts = [0_u32; 2];
    until("all of them to arrive", MOMENT, || {
        for (listener, count) in yard.listeners.iter().zip(&mut counts) {
            while let Ok((_, peer)) = listener.accept() {
                assert!(ports.contains_key(&peer.port()), "{peer} is not the client's");
                *count += 1;
            }
        }
        Ok((counts[0] + counts[1] == CONNECTIONS).then_some(()))
    })
    .unwrap();
    // 300 of 400 expected; the deviation is 8.7, and five of those are not met by chance.
    assert!((256..=344).contains(&counts[0]), "{counts:?}");
    drop(ports);
    yard.label(&yard.db[0], "node-a", "db-0", 1).unwrap();
    yard.label(&yard.db[1], "node-a", "db-1", 1).unwrap();
    yard.restore().unwrap();
}

#[test]
fn of_several_endpoints_one_that_refuses_brings_the_proxy_back_for_a_while() {
    let yard = YARD.take();
    yard.restore().unwrap();
    yard.label(&yard.db[0], "node-a", "both", 1).unwrap();
    yard.label(&yard.db[1], "node-a", "both", 1).unwrap();
    let service = ServiceManifest::new(NAMESPACE, "half")
        .address("10.96.0.24")
        .selects("both");
    yard.mesh.manifests.service(&service.port(80, 7420)).unwrap();
    yard.a().wait_service("shop/half", 2).unwrap();
    let to = address("10.96.0.24:80");
    let _only = listen(&yard.db[0], 7420);
    drop(connect(&yard.client, to));
    let said = || pair(yard.a(), "shop/client", to).map(Option::unwrap_or_default);
    let is_granted = || {
        Ok(said()?["endpoints"]
            .as_array()
            .filter(|all| all.len() == 2)
            .map(drop))
    };
    until("the grant", MOMENT, is_granted).unwrap();
    until("a refusal", MOMENT, || {
        Ok(yard.client.place.connect(to, MOMENT)?.is_err().then_some(()))
    })
    .unwrap();
    until("the proxy's turn", MOMENT, || {
        let said = said()?;
        let reason = said["withheld"].as_str().unwrap_or_default();
        Ok(reason.contains("failed").then_some(()))
    })
    .unwrap();
    for _ in 0..20 {
        drop(connect(&yard.client, to)); // the proxy tries the other one
    }
    until("the grant again", MOMENT, is_granted).unwrap();
    yard.mesh.manifests.remove("service-shop-half.yaml").unwrap();
    yard.label(&yard.db[0], "node-a", "db-0", 1).unwrap();
    yard.label(&yard.db[1], "node-a", "db-1", 1).unwrap();
    yard.restore().unwrap();
}

#[test]
fn a_network_that_does_not_lead_there_leaves_it_to_the_proxy() {
    let mut yard = YARD.take();
    yard.restore().unwrap();
    let lonely = yard.mesh.add_pod("node-a", "lonely").unwrap();
    yard.mesh
        .enrol(NAMESPACE, "node-a", &lonely, |workload| workload)
        .unwrap();
    lonely
        .place
        .netns()
        .configure(&format!("route add unreachable {}\n", yard.db[0].v4()))
        .unwrap();
    for _ in 0..3 {
        let line = super::yard::line(&lonely, address(DB), &yard.listeners[0]);
        assert!(!line.is_direct);
        line.close();
    }
    let listed = until("the reason", MOMENT, || {
        let pair = pair(yard.a(), "shop/lonely", address(DB))?.unwrap_or_default();
        Ok(pair["withheld"]
            .as_str()
            .map(str::to_owned)
            .filter(|reason| reason.contains("does not lead")))
    });
    assert!(listed.is_ok(), "{listed:?}: {:?}", yard.a().admin("/direct"));
    yard.mesh.manifests.remove("workload-shop-lonely.yaml").unwrap();
    yard.a().wait_released("shop/lonely").unwrap();
}

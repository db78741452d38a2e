//! Configuration that is wrong, and requests that nobody should make: a clear error, and nothing else changes.

#![expect(clippy::unwrap_used, reason = "in a test, a failure's place is what matters")]

use std::net::SocketAddr;
use std::time::Duration;

use mesh_api::wire::nodemesh::v1::SignRequest;
use mesh_api::wire::nodemesh::v1::certificate_authority_client::CertificateAuthorityClient;
use mesh_e2e::MOMENT;
use mesh_e2e::servers::NGINX_PORT;
use mesh_e2e::shop::Shop;
use mesh_e2e::traffic::{curl, listen};
use mesh_e2e::turns::Turns;
use mesh_harness::manifest::{ServiceManifest, WorkloadManifest};
use mesh_harness::until;
use serde_json::Value;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic::{Code, Request};

static SHOP: Turns<Shop> = Turns::new(Shop::open);

/// What the nodes know of the world, without what changes by itself.
fn knowledge(shop: &Shop) -> Vec<Value> {
    let mut all = Vec::new();
    for node in &shop.mesh.nodes {
        for path in ["/services", "/workloads"] {
            let mut value = node.admin(path).unwrap();
            forget_counts(&mut value);
            all.push(value);
        }
    }
    all
}

fn forget_counts(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !name.ends_with("_connections"));
            fields.values_mut().for_each(forget_counts);
        }
        Value::Array(values) => values.iter_mut().for_each(forget_counts),
        _ => {}
    }
}

/// Writes a file that is wrong; the control plane must name all of `parts` in one line, and change nothing.
fn refuses(shop: &Shop, file: &str, yaml: &str, parts: &[&str]) {
    let before = knowledge(shop);
    let mark = shop.mesh.control.log().len();
    shop.mesh.manifests.write(file, yaml).unwrap();
    let what = format!("a line with {parts:?} in mesh-control's log");
    let found = until(&what, MOMENT, || {
        let log = shop.mesh.control.log();
        let mut lines = log.get(mark..).unwrap_or_default().lines();
        Ok(lines
            .find(|line| parts.iter().all(|part| line.contains(part)))
            .map(str::to_owned))
    });
    assert!(
        found.is_ok(),
        "{found:?}: {}",
        shop.mesh.control.log().get(mark..).unwrap_or_default()
    );
    // Longer than the watcher waits for a burst of changes to end.
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(knowledge(shop), before, "something changed");
    assert!(shop.mesh.control.is_ready());
    assert_eq!(curl(&shop.client, "http://10.96.0.1/ok"), "ok");
    // What is right in the meantime waits for the error to go; then everything is taken.
    shop.mesh.manifests.remove(file).unwrap();
    let proof = file.trim_end_matches(".yaml");
    shop.mesh
        .manifests
        .service(
            &ServiceManifest::new("shop", proof)
                .selects("web")
                .address("10.96.0.77")
                .port(80, NGINX_PORT),
        )
        .unwrap();
    shop.a().wait_service(&format!("shop/{proof}"), 1).unwrap();
    assert_eq!(curl(&shop.client, "http://10.96.0.77/ok"), "ok");
    shop.mesh
        .manifests
        .remove(&format!("service-shop-{proof}.yaml"))
        .unwrap();
    until("the last test's Service to go", MOMENT, || {
        Ok((knowledge(shop) == before).then_some(()))
    })
    .unwrap();
}

#[test]
fn a_broken_manifest_is_named_and_nothing_changes() {
    let shop = SHOP.take();
    refuses(
        &shop,
        "broken.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: [unclosed\n",
        &["broken.yaml"],
    );
}

#[test]
fn an_unknown_field_is_named_and_nothing_changes() {
    let shop = SHOP.take();
    let yaml = ServiceManifest::new("shop", "typo")
        .address("10.96.0.50")
        .port(80, 80)
        .yaml();
    let yaml = yaml.replace("selector:", "selektor:");
    refuses(
        &shop,
        "typo.yaml",
        &yaml,
        &["typo.yaml", "Service shop/typo", "selektor"],
    );
}

#[test]
fn a_wrong_value_is_named_by_its_field_and_nothing_changes() {
    let shop = SHOP.take();
    let yaml = WorkloadManifest::new("shop", "node-a", &shop.stranger).yaml();
    let yaml = yaml.replace(&shop.stranger.v4().to_string(), "10.1.0.300");
    refuses(
        &shop,
        "value.yaml",
        &yaml,
        &["value.yaml", "Workload shop/stranger", "spec.addresses"],
    );
}

#[test]
fn two_workloads_with_one_address_are_both_named_and_nothing_changes() {
    let shop = SHOP.take();
    let yaml = WorkloadManifest::new("shop", "node-a", &shop.client)
        .named("double")
        .yaml();
    let yaml = yaml.replace(&shop.client.cgroup, &shop.stranger.cgroup);
    let address = shop.client.v4().to_string();
    refuses(
        &shop,
        "double.yaml",
        &yaml,
        &["double.yaml", "shop/double", "shop/client", &address],
    );
}

#[test]
fn a_service_without_endpoints_is_taken_and_disturbs_nobody() {
    let shop = SHOP.take();
    shop.add_service_with("nobody", 60, 80, NGINX_PORT, 0).unwrap();
    assert_eq!(curl(&shop.client, "http://10.96.0.1/ok"), "ok");
    shop.mesh.manifests.remove("service-shop-nobody.yaml").unwrap();
    until("the Service to go", MOMENT, || {
        let known = knowledge(&shop);
        Ok(known
            .iter()
            .all(|part| !part.to_string().contains("shop/nobody"))
            .then_some(()))
    })
    .unwrap();
}

#[test]
fn endpoints_come_and_go_with_their_workloads() {
    let mut shop = SHOP.take();
    shop.add_service_with("shifts", 61, 80, 7300, 0).unwrap();
    for (name, node, endpoints) in [("early", "node-a", 1), ("late", "node-b", 2)] {
        let workload = shop.mesh.add_pod(node, name).unwrap();
        let _listener = listen(&workload, 7300);
        let enrol = |manifest: WorkloadManifest| manifest.label("app", "shifts").port("raw", 7300);
        shop.mesh.enrol("shop", node, &workload, enrol).unwrap();
        shop.mesh
            .nodes
            .iter()
            .try_for_each(|node| node.wait_service("shop/shifts", endpoints))
            .unwrap();
    }
    for (name, endpoints) in [("early", 1), ("late", 0)] {
        shop.mesh
            .manifests
            .remove(&format!("workload-shop-{name}.yaml"))
            .unwrap();
        shop.mesh
            .nodes
            .iter()
            .try_for_each(|node| node.wait_service("shop/shifts", endpoints))
            .unwrap();
    }
}

/// Asks the CA to sign for an identity, with a node's join token or another.
fn sign(shop: &Shop, token: Option<&str>, identity: &str) -> Result<usize, (Code, String)> {
    let roots = shop.mesh.control.root_certificates().unwrap();
    let control: SocketAddr = shop.mesh.control.address();
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default()
        .serialize_request(&key)
        .unwrap()
        .der()
        .to_vec();
    let mut request = Request::new(SignRequest {
        csr,
        identity: identity.to_owned(),
    });
    if let Some(token) = token {
        request
            .metadata_mut()
            .insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let work = async {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(roots))
            .domain_name("mesh-control");
        let endpoint = Endpoint::from_shared(format!("https://{control}")).unwrap();
        let channel = endpoint
            .tls_config(tls)
            .unwrap()
            .timeout(MOMENT)
            .connect()
            .await
            .unwrap();
        CertificateAuthorityClient::new(channel).sign(request).await
    };
    let answer = shop.outsider.place.netns().enter(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(work)
    });
    answer
        .unwrap()
        .map(|response| response.into_inner().chain.len())
        .map_err(|status| (status.code(), status.message().to_owned()))
}

#[test]
fn a_certificate_for_another_nodes_identity_is_refused() {
    let shop = SHOP.take();
    let token = shop.a().token().unwrap();
    let own = "spiffe://cluster.local/ns/shop/sa/client";
    assert!(
        sign(&shop, Some(&token), own).unwrap() >= 1,
        "its own workloads' identities are signed"
    );
    let other = "spiffe://cluster.local/ns/shop/sa/web";
    let (code, message) = sign(&shop, Some(&token), other).unwrap_err();
    assert_eq!(code, Code::PermissionDenied, "{message}");
    assert!(message.contains(other) && message.contains("node-a"), "{message}");
    let unknown = "spiffe://cluster.local/ns/shop/sa/nobody";
    assert_eq!(
        sign(&shop, Some(&token), unknown).unwrap_err().0,
        Code::PermissionDenied
    );
    let foreign = "spiffe://other.example/ns/shop/sa/client";
    let code = sign(&shop, Some(&token), foreign).unwrap_err().0;
    assert!(
        [Code::PermissionDenied, Code::InvalidArgument].contains(&code),
        "{code:?}"
    );
    assert_eq!(curl(&shop.client, "http://10.96.0.1/ok"), "ok");
}

#[test]
fn a_certificate_request_without_a_good_token_is_refused() {
    let shop = SHOP.take();
    let own = "spiffe://cluster.local/ns/shop/sa/client";
    assert_eq!(sign(&shop, None, own).unwrap_err().0, Code::Unauthenticated);
    assert_eq!(
        sign(&shop, Some("made-up"), own).unwrap_err().0,
        Code::Unauthenticated
    );
}

#[test]
fn a_nodes_configuration_is_checked_without_being_run() {
    let shop = SHOP.take();
    assert!(shop.a().command(&["--check"], MOMENT).unwrap().success().is_ok());
    let config = shop.a().config().to_owned();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("[drain]\ndeadline", "[drain]\ndeadlime")).unwrap();
    let refused = shop.a().command(&["--check"], MOMENT).unwrap();
    std::fs::write(&config, text).unwrap();
    assert_ne!(refused.code(), Some(0));
    assert!(
        refused.stderr.contains("deadlime") && refused.stderr.contains("node.toml"),
        "{}",
        refused.stderr
    );
}

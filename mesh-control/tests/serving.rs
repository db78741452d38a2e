//! A whole control plane in this process, and real clients over TLS on loopback.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test helpers: what fails shall stop the test"
)]

use std::fs;

use mesh_api::wire::envoy::config::core::v3::Node;
use mesh_api::wire::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_api::wire::google::rpc::Status as RpcStatus;
use mesh_api::wire::nodemesh::v1::certificate_authority_client::CertificateAuthorityClient;
use mesh_api::{ResourceType, decode};
use mesh_control::ca::{Directory, Step};
use mesh_model::{Change, TrustDomain};
use tonic::{Code, Request};

#[path = "serving/harness.rs"]
mod harness;

use harness::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_subscribes_and_hears_of_changes() {
    let manifests = [
        workload("web-1", "a", "10.1.0.2"),
        service("web", "10.96.0.1"),
        route("all", "web"),
    ];
    let control = Control::start(&manifests.concat()).await;
    let token = control.token("a").await;
    let mut stream = control.ready_stream(&token).await;
    for resource_type in ResourceType::ALL {
        stream.subscribe(resource_type, &[]).await;
        let response = stream.receive().await;
        assert_eq!(response.type_url, resource_type.type_url());
        assert_eq!(response.resources.len(), 1, "{resource_type:?}");
        decode(resource_type, &response.resources[0]).unwrap();
        stream.acknowledge(&response).await;
    }
    control.write("update.yaml", &workload("web-2", "b", "10.1.1.2"));
    let (first, second) = (stream.receive().await, stream.receive().await);
    assert_eq!(first.type_url, ResourceType::Workload.type_url());
    assert_eq!(names(&first), ["shop/web-2"]);
    assert_eq!(
        workloads(&first)["shop/web-2"].attachment,
        None,
        "node b's own business"
    );
    assert_eq!(second.type_url, ResourceType::Endpoints.type_url());
    assert_eq!(names(&second), ["shop/web"]);
    stream.acknowledge(&first).await;
    stream.acknowledge(&second).await;
    fs::remove_file(control.folder.path().join("manifests/update.yaml")).unwrap();
    let (endpoints, removal) = (stream.receive().await, stream.receive().await);
    assert_eq!(
        names(&endpoints),
        ["shop/web"],
        "first nobody is sent there any more"
    );
    assert_eq!(removal.removed_resources, ["shop/web-2"]);
    let metrics = control.get("/metrics").await;
    assert!(metrics.contains("mesh_control_connected_nodes 1\n"), "{metrics}");
    assert!(
        metrics.contains("mesh_control_pushes_total{type=\"workload\"} 3\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("mesh_control_resources{kind=\"workload\"} 1\n"),
        "{metrics}"
    );
    control.app.stop().await;
    assert_eq!(
        stream.end().await.code(),
        Code::Unavailable,
        "told to connect again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_reconnects_hears_only_of_the_difference() {
    let control =
        Control::start(&(workload("web-1", "a", "10.1.0.2") + &workload("web-2", "b", "10.1.1.2"))).await;
    let token = control.token("a").await;
    let mut stream = control.ready_stream(&token).await;
    stream.subscribe(ResourceType::Workload, &[]).await;
    let response = stream.receive().await;
    let version = |name: &str| {
        let found = response.resources.iter().find(|resource| resource.name == name);
        found.unwrap().version.clone()
    };
    drop(stream);
    let mut again = control.ready_stream(&token).await;
    let known = [
        ("shop/web-1", version("shop/web-1").as_str()),
        ("shop/web-2", "an old version"),
        ("shop/gone", "any"),
    ]
    .map(|(name, version)| (name, version.to_owned()));
    let known: Vec<(&str, &str)> = known
        .iter()
        .map(|(name, version)| (*name, version.as_str()))
        .collect();
    again.subscribe(ResourceType::Workload, &known).await;
    let difference = again.receive().await;
    assert_eq!(names(&difference), ["shop/web-2"]);
    assert_eq!(difference.removed_resources, ["shop/gone"]);
    again.acknowledge(&difference).await;
    again.nothing_comes().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_manifest_changes_nothing_and_is_told_of() {
    let control = Control::start(&workload("web-1", "a", "10.1.0.2")).await;
    let token = control.token("a").await;
    let mut stream = control.ready_stream(&token).await;
    stream.subscribe(ResourceType::Workload, &[]).await;
    let response = stream.receive().await;
    stream.acknowledge(&response).await;
    assert!(control.get("/healthz/ready").await.starts_with("HTTP/1.1 200"));
    // A good change and a bad one together: neither is taken.
    let manifests = workload("web-2", "b", "10.1.1.2") + &workload("web-3", "b", "10.1.0.2");
    control.write("update.yaml", &manifests);
    let problems = control
        .get_until("/problems", "10.1.0.2 is also an address of Workload shop/web-1")
        .await;
    for part in [
        "\"is_in_force\":false",
        "update.yaml",
        "Workload shop/web-3",
        "spec.addresses[0]",
        "\"line\":7",
    ] {
        assert!(problems.contains(part), "{part} is not in {problems}");
    }
    stream.nothing_comes().await;
    assert!(
        control.get("/healthz/ready").await.starts_with("HTTP/1.1 200"),
        "the last good state serves"
    );
    assert!(
        control
            .get("/metrics")
            .await
            .contains("mesh_control_load_problems{severity=\"error\"} 1\n")
    );
    control.write("update.yaml", &workload("web-2", "b", "10.1.1.2"));
    assert_eq!(names(&stream.receive().await), ["shop/web-2"]);
    control.get_until("/problems", "\"is_in_force\":true").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shows_the_routes_in_force_and_those_of_a_reading_that_was_refused() {
    let good = service("web", "10.96.0.1") + &route("one", "web");
    let control = Control::start(&good).await;
    control.get_until("/problems", "\"is_in_force\":true").await;
    let report = control.routes().await;
    assert_eq!(report.refused, None);
    let in_force = report.in_force.unwrap();
    let [status] = in_force.routes.as_slice() else {
        panic!("{in_force:?}")
    };
    assert_eq!(
        (status.kind.as_str(), status.name.as_str()),
        ("HTTPRoute", "shop/one")
    );
    assert!(status.origin.ends_with("shop.yaml:7"), "{}", status.origin);
    assert_eq!(status.rules[0].matches, ["GET /a*"]);
    assert_eq!(status.rules[0].backends[0].target, "shop/web:80");
    let parent = &status.parents[0];
    assert_eq!(
        (
            parent.parent.as_str(),
            parent.ports.as_slice(),
            parent.controller.as_str()
        ),
        ("shop/web", [80].as_slice(), "nodemesh.io/mesh-control")
    );
    let conditions: Vec<_> = parent
        .conditions
        .iter()
        .map(|condition| {
            (
                condition.r#type.as_str(),
                condition.status.as_str(),
                condition.observed_generation,
            )
        })
        .collect();
    assert_eq!(
        conditions,
        [("Accepted", "True", Some(3)), ("ResolvedRefs", "True", Some(3))]
    );
    // Another file has an error, and a route that would lead nowhere.
    control.write("update.yaml", &(route("two", "gone") + "---\nkind: Nonsense\n"));
    control.get_until("/problems", "Nonsense").await;
    let report = control.routes().await;
    assert_eq!(report.in_force, Some(in_force), "the last good state");
    let refused = report.refused.unwrap();
    let names: Vec<&str> = refused.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names, ["shop/one", "shop/two"]);
    let resolved = &refused.routes[1].parents[0].conditions[1];
    assert_eq!(
        (resolved.status.as_str(), resolved.reason.as_str()),
        ("False", "BackendNotFound")
    );
    control.write("update.yaml", &route("two", "gone"));
    control.get_until("/problems", "\"is_in_force\":true").await;
    let report = control.routes().await;
    assert_eq!((report.refused, report.in_force.unwrap().routes.len()), (None, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_good_load_nodes_are_told_nothing() {
    let control = Control::start("kind: Nonsense").await;
    let token = control.token("a").await;
    control.get_until("/problems", "Nonsense").await;
    let refusal = control.stream(&token).await.err().unwrap();
    assert_eq!(refusal.code(), Code::Unavailable);
    assert!(refusal.message().contains("/problems"), "{refusal}");
    let ready = control.get("/healthz/ready").await;
    assert!(
        ready.starts_with("HTTP/1.1 503") && ready.contains("manifests loaded"),
        "{ready}"
    );
    control.write("shop.yaml", &workload("web-1", "a", "10.1.0.2"));
    control.ready_stream(&token).await;
    assert!(control.get("/healthz/ready").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signs_only_for_workloads_of_the_asking_node() {
    let control =
        Control::start(&(workload("web-1", "a", "10.1.0.2") + &workload("web-2", "b", "10.1.1.2"))).await;
    let token = control.token("a").await;
    drop(control.ready_stream(&token).await);
    let mut client = CertificateAuthorityClient::new(control.channel().await);
    let own = request_for("spiffe://test.local/ns/shop/sa/web-1");
    let signed = client
        .sign(with_token(own.clone(), &token))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(signed.chain.len(), 1, "a root signs leaves directly");
    for (identity, code, reason) in [
        (
            "spiffe://test.local/ns/shop/sa/web-2",
            Code::PermissionDenied,
            "no enrolled workload of node a has",
        ),
        (
            "spiffe://test.local/ns/shop/sa/nobody",
            Code::PermissionDenied,
            "no enrolled workload of node a has",
        ),
        (
            "spiffe://other.local/ns/shop/sa/web-1",
            Code::PermissionDenied,
            "trust domain test.local",
        ),
        ("web-1", Code::InvalidArgument, "not of the form"),
    ] {
        let refusal = client
            .sign(with_token(request_for(identity), &token))
            .await
            .unwrap_err();
        assert_eq!(
            (refusal.code(), refusal.message().contains(reason)),
            (code, true),
            "{identity}: {refusal}"
        );
    }
    let mut broken = own;
    broken.csr.truncate(100);
    let refusal = client.sign(with_token(broken, &token)).await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument);
    let metrics = control.get("/metrics").await;
    for line in [
        "mesh_control_certificates_signed_total 1\n",
        "mesh_control_certificates_refused_total{reason=\"identity\"} 3\n",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_valid_token_opens_the_door() {
    let control = Control::start(&workload("web-1", "a", "10.1.0.2")).await;
    let token = control.token("a").await;
    let mut changed = token.clone();
    let last = changed.len() - 2..changed.len() - 1;
    let other = if &changed[last.clone()] == "A" { "B" } else { "A" };
    changed.replace_range(last, other);
    let others = token.replace("nodemesh.a.", "nodemesh.b.");
    for wrong in ["", "nodemesh.a", others.as_str(), changed.as_str()] {
        let refusal = control.stream(wrong).await.err().unwrap();
        assert_eq!(refusal.code(), Code::Unauthenticated, "{wrong}");
    }
    let mut client = CertificateAuthorityClient::new(control.channel().await);
    let identity = "spiffe://test.local/ns/shop/sa/web-1";
    let refusal = client
        .sign(Request::new(request_for(identity)))
        .await
        .unwrap_err();
    assert_eq!(refusal.code(), Code::Unauthenticated);
    assert!(
        refusal.message().contains("mesh-control token create"),
        "{refusal}"
    );
    let mut stream = control.ready_stream(&token).await;
    stream
        .send(DeltaDiscoveryRequest {
            node: Some(Node {
                id: "b".to_owned(),
                ..Node::default()
            }),
            type_url: ResourceType::Workload.type_url().to_owned(),
            ..DeltaDiscoveryRequest::default()
        })
        .await;
    assert_eq!(stream.end().await.code(), Code::PermissionDenied);
    let mut open = control.ready_stream(&token).await;
    open.subscribe(ResourceType::Workload, &[]).await;
    open.receive().await;
    control.tokens().revoke(&node("a")).unwrap();
    let end = open.end().await;
    assert_eq!(
        (end.code(), end.message()),
        (Code::Unauthenticated, "the join token was revoked")
    );
    assert_eq!(
        control.stream(&token).await.err().unwrap().code(),
        Code::Unauthenticated
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_response_is_counted_and_not_repeated() {
    let control = Control::start(&workload("web-1", "a", "10.1.0.2")).await;
    let token = control.token("a").await;
    let mut stream = control.ready_stream(&token).await;
    stream.subscribe(ResourceType::Workload, &[]).await;
    let response = stream.receive().await;
    stream
        .send(DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: Some(RpcStatus {
                message: "no room".to_owned(),
                ..RpcStatus::default()
            }),
            ..DeltaDiscoveryRequest::default()
        })
        .await;
    control
        .get_until("/metrics", "mesh_control_nacks_total 1\n")
        .await;
    stream.nothing_comes().await;
    control.write("shop.yaml", &workload("web-1", "a", "10.1.0.3"));
    assert_eq!(names(&stream.receive().await), ["shop/web-1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollover_of_the_root_reaches_nodes_while_they_are_connected() {
    let control = Control::start(&workload("web-1", "a", "10.1.0.2")).await;
    let token = control.token("a").await;
    let mut stream = control.ready_stream(&token).await;
    stream.subscribe(ResourceType::TrustBundle, &[]).await;
    let bundle =
        |response: &DeltaDiscoveryResponse| match decode(ResourceType::TrustBundle, &response.resources[0]) {
            Ok(Change::Trust(bundle)) => bundle,
            other => panic!("no trust bundle: {other:?}"),
        };
    let response = stream.receive().await;
    let old = bundle(&response);
    stream.acknowledge(&response).await;
    let directory = Directory::new(&control.ca());
    let domain = TrustDomain::new("test.local").unwrap();
    let mut bundles = Vec::new();
    for step in [Step::Prepare, Step::Activate, Step::Finish] {
        directory.rotate(step, &domain).unwrap();
        let response = stream.receive().await;
        bundles.push(bundle(&response));
        stream.acknowledge(&response).await;
        // The listener's own certificate verifies against the roots at every step.
        let mut client = CertificateAuthorityClient::new(control.channel().await);
        let request = with_token(request_for("spiffe://test.local/ns/shop/sa/web-1"), &token);
        let signed = client.sign(request).await.unwrap().into_inner();
        assert_eq!(signed.signer, bundles.last().unwrap().signer);
    }
    let [prepared, activated, finished] = &bundles[..] else {
        panic!("three steps")
    };
    assert_eq!((prepared.signer, prepared.roots.len()), (old.signer, 2));
    assert_ne!(activated.signer, old.signer);
    assert_eq!(activated.roots.len(), 2);
    assert_eq!((finished.signer, finished.roots.len()), (activated.signer, 1));
}

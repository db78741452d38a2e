//! Who is let in, and why the others are not.

use mesh_model::fixture;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType, date_time_ymd};

use super::*;
use crate::identity::tls::provider;

type Root = CertifiedIssuer<'static, KeyPair>;

fn root() -> Root {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn leaf(root: &Root, names: &[&str]) -> CertificateDer<'static> {
    leaf_with(root, names, |_| {})
}

fn leaf_with(
    root: &Root,
    names: &[&str],
    change: impl FnOnce(&mut CertificateParams),
) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names
        .iter()
        .map(|name| SanType::URI((*name).try_into().unwrap()))
        .collect();
    change(&mut params);
    params
        .signed_by(&KeyPair::generate().unwrap(), root)
        .unwrap()
        .der()
        .clone()
}

fn trust(roots: &[&Root]) -> Arc<Trust> {
    let trust = Trust::new(provider());
    let bundle = TrustBundle {
        trust_domain: TrustDomain::new(fixture::TRUST_DOMAIN).unwrap(),
        roots: roots.iter().map(|root| root.der().to_vec()).collect(),
        signer: [0; 32],
    };
    trust.replace(&bundle).unwrap();
    Arc::new(trust)
}

fn as_client(trust: &Arc<Trust>, certificate: &CertificateDer<'_>) -> Result<(), String> {
    let verifier = ClientVerifier::new(Arc::clone(trust));
    let verified = verifier.verify_client_cert(certificate, &[], UnixTime::now());
    verified.map(|_| ()).map_err(|error| explain_tls(&error))
}

fn as_server(trust: &Arc<Trust>, expected: Identity, certificate: &CertificateDer<'_>) -> Result<(), String> {
    let verifier = ServerVerifier::new(Arc::clone(trust), expected);
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let verified = verifier.verify_server_cert(certificate, &[], &name, &[], UnixTime::now());
    verified.map(|_| ()).map_err(|error| explain_tls(&error))
}

const WEB: &str = "spiffe://test.local/ns/shop/sa/web";

#[test]
fn lets_in_a_workload_of_the_mesh() {
    let root = root();
    let certificate = leaf(&root, &[WEB]);
    assert_eq!(as_client(&trust(&[&root]), &certificate), Ok(()));
    assert_eq!(
        as_server(&trust(&[&root]), fixture::identity("shop", "web"), &certificate),
        Ok(())
    );
    assert_eq!(spiffe_id(&certificate), Ok(fixture::identity("shop", "web")));
}

#[test]
fn lets_in_both_roots_during_a_rollover() {
    let (former, next) = (root(), root());
    let both = trust(&[&former, &next]);
    assert_eq!(as_client(&both, &leaf(&former, &[WEB])), Ok(()));
    assert_eq!(as_client(&both, &leaf(&next, &[WEB])), Ok(()));
    let error = as_client(&trust(&[&next]), &leaf(&former, &[WEB])).unwrap_err();
    assert!(
        error.contains("nobody whom this mesh trusts") || error.contains("BadSignature"),
        "{error}"
    );
}

#[test]
fn refuses_another_trust_domain_even_under_a_trusted_root() {
    let root = root();
    let certificate = leaf(&root, &["spiffe://other.local/ns/shop/sa/web"]);
    let error = as_client(&trust(&[&root]), &certificate).unwrap_err();
    assert!(
        error.contains("is not of this mesh's trust domain test.local"),
        "{error}"
    );
    let error = as_server(&trust(&[&root]), fixture::identity("shop", "web"), &certificate).unwrap_err();
    assert!(
        error.contains("is not of this mesh's trust domain test.local"),
        "{error}"
    );
}

#[test]
fn refuses_what_is_out_of_its_validity() {
    let root = root();
    let expired = leaf_with(&root, &[WEB], |params| {
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let error = as_client(&trust(&[&root]), &expired).unwrap_err();
    assert!(error.contains("expired"), "{error}");
    let future = leaf_with(&root, &[WEB], |params| {
        params.not_before = date_time_ymd(4000, 1, 1);
    });
    let error = as_server(&trust(&[&root]), fixture::identity("shop", "web"), &future).unwrap_err();
    assert!(error.contains("not valid yet"), "{error}");
}

#[test]
fn refuses_a_server_that_is_somebody_else() {
    let root = root();
    let error = as_server(
        &trust(&[&root]),
        fixture::identity("shop", "cart"),
        &leaf(&root, &[WEB]),
    )
    .unwrap_err();
    assert!(
        error.contains("sa/web, but spiffe://test.local/ns/shop/sa/cart was to be reached"),
        "{error}"
    );
}

#[test]
fn refuses_certificates_that_name_no_single_workload() {
    let root = root();
    let trust = trust(&[&root]);
    let error = as_client(&trust, &leaf(&root, &[])).unwrap_err();
    assert!(error.contains("has 0 URI names"), "{error}");
    let error = as_client(
        &trust,
        &leaf(&root, &[WEB, "spiffe://test.local/ns/shop/sa/cart"]),
    )
    .unwrap_err();
    assert!(error.contains("has 2 URI names"), "{error}");
    let error = as_client(&trust, &leaf(&root, &["https://example.org/web"])).unwrap_err();
    assert!(error.contains("names no workload"), "{error}");
}

#[test]
fn refuses_everybody_before_roots_are_known() {
    let root = root();
    let none = Arc::new(Trust::new(provider()));
    let error = as_client(&none, &leaf(&root, &[WEB])).unwrap_err();
    assert!(error.contains("has not yet said which roots to trust"), "{error}");
}

#[test]
fn a_bundle_that_can_not_be_used_changes_nothing() {
    let root = root();
    let trust = trust(&[&root]);
    let broken = TrustBundle {
        trust_domain: TrustDomain::new(fixture::TRUST_DOMAIN).unwrap(),
        roots: vec![vec![1, 2, 3]],
        signer: [0; 32],
    };
    assert!(trust.replace(&broken).is_err());
    assert_eq!(as_client(&trust, &leaf(&root, &[WEB])), Ok(()));
}

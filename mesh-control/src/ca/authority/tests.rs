//! What the authority issues, as a peer and as an auditor would look at it, through a whole rollover.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use mesh_model::Identity;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose};
use rustls_pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::*;
use crate::ca::{Rotation, Step};

fn config(directory: &Path) -> CaConfig {
    CaConfig {
        directory: Some(directory.join("ca")),
        certificate: None,
        key: None,
        root: None,
        trust_domain: "test.local".to_owned(),
        certificate_lifetime: Duration::from_hours(24),
    }
}

fn identity() -> Identity {
    "spiffe://test.local/ns/shop/sa/web".parse().unwrap()
}

fn issue(authority: &Authority) -> Vec<CertificateDer<'static>> {
    let key = KeyPair::generate().unwrap();
    let signer = authority.signer();
    signer
        .sign_workload(&key, &identity(), authority.lifetime(), OffsetDateTime::now_utc())
        .unwrap()
}

/// Verifies a chain as a peer that trusts these roots, for one usage.
fn verify(
    chain: &[CertificateDer<'_>],
    bundle: &TrustBundle,
    usage: webpki::KeyUsage,
) -> Result<(), webpki::Error> {
    let roots: Vec<CertificateDer<'_>> = bundle.roots.iter().map(|root| root.as_slice().into()).collect();
    let anchors: Vec<_> = roots
        .iter()
        .map(|root| webpki::anchor_from_trusted_cert(root).unwrap())
        .collect();
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    webpki::EndEntityCert::try_from(&chain[0])?
        .verify_for_usage(
            algorithms,
            &anchors,
            &chain[1..],
            UnixTime::now(),
            usage,
            None,
            None,
        )
        .map(drop)
}

fn is_good(chain: &[CertificateDer<'_>], bundle: &TrustBundle) -> bool {
    [webpki::KeyUsage::client_auth(), webpki::KeyUsage::server_auth()]
        .into_iter()
        .all(|usage| verify(chain, bundle, usage).is_ok())
}

#[test]
fn a_certificate_has_the_identity_and_nothing_more() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::open(&config(directory.path())).unwrap();
    let chain = issue(&authority);
    assert_eq!(chain.len(), 1);
    assert!(is_good(&chain, &authority.bundle().borrow()));
    let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
    let names = leaf
        .subject_alternative_name()
        .unwrap()
        .unwrap()
        .value
        .general_names
        .clone();
    assert_eq!(names, [GeneralName::URI("spiffe://test.local/ns/shop/sa/web")]);
    assert!(!leaf.basic_constraints().unwrap().unwrap().value.ca);
    let usage = leaf.key_usage().unwrap().unwrap().value;
    assert_eq!((usage.digital_signature(), usage.flags.count_ones()), (true, 1));
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.client_auth && extended.server_auth && !extended.any && extended.other.is_empty());
    let now = OffsetDateTime::now_utc();
    let begins = now - leaf.validity().not_before.to_datetime();
    assert!(
        (55..70).contains(&begins.whole_seconds()),
        "backdated by a minute, not {begins}"
    );
    let ends = leaf.validity().not_after.to_datetime() - now;
    assert!(
        (86_390..=86_400).contains(&ends.whole_seconds()),
        "a day, not {ends}"
    );
}

#[test]
fn half_of_a_short_life_is_not_over_when_it_begins() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::open(&config(directory.path())).unwrap();
    let (key, now) = (KeyPair::generate().unwrap(), OffsetDateTime::now_utc());
    let minute = Duration::from_mins(1);
    let chain = authority
        .signer()
        .sign_workload(&key, &identity(), minute, now)
        .unwrap();
    let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
    let (begins, ends) = (
        leaf.validity().not_before.timestamp(),
        leaf.validity().not_after.timestamp(),
    );
    let half = begins + (ends - begins) / 2;
    assert!(
        half > now.unix_timestamp() + 20,
        "{}",
        half - now.unix_timestamp()
    );
}

#[test]
fn no_certificate_outlives_its_signer() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::open(&config(directory.path())).unwrap();
    let signer = authority.signer();
    let key = KeyPair::generate().unwrap();
    let late = signer.not_after() - Duration::from_hours(1);
    let chain = signer
        .sign_workload(&key, &identity(), Duration::from_hours(24), late)
        .unwrap();
    let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
    assert_eq!(leaf.validity().not_after.to_datetime(), signer.not_after());
    let refused = signer.sign_workload(&key, &identity(), Duration::from_hours(24), signer.not_after());
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .starts_with("the signing certificate ends at")
    );
}

#[test]
fn the_root_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let first = Authority::open(&config(directory.path())).unwrap();
    let second = Authority::open(&config(directory.path())).unwrap();
    assert_eq!(*first.bundle().borrow(), *second.bundle().borrow());
    assert!(is_good(&issue(&first), &second.bundle().borrow()));
}

#[test]
fn keys_are_their_owners_only() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    Authority::open(&config).unwrap();
    let ca = directory.path().join("ca");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&ca), 0o700);
    let files: Vec<_> = fs::read_dir(&ca)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    assert_eq!(files.len(), 4, "{files:?}");
    for file in &files {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
    let key = files
        .iter()
        .find(|file| file.extension().is_some_and(|extension| extension == "key"))
        .unwrap();
    fs::set_permissions(key, fs::Permissions::from_mode(0o640)).unwrap();
    let error = Authority::open(&config).unwrap_err().to_string();
    assert!(
        error.contains("has mode 0640") && error.contains("chmod 0600"),
        "{error}"
    );
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(&ca, fs::Permissions::from_mode(0o755)).unwrap();
    let error = Authority::open(&config).unwrap_err().to_string();
    assert!(
        error.contains("has mode 0755") && error.contains("chmod 0700"),
        "{error}"
    );
}

#[test]
fn through_a_rollover_everybody_verifies_everybody() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    let authority = Authority::open(&config).unwrap();
    let root = Directory::new(&directory.path().join("ca"));
    let domain = authority.trust_domain().clone();
    let bundle = || authority.bundle().borrow().clone();
    let (old_bundle, old_chain) = (bundle(), issue(&authority));
    assert!(!authority.reload().unwrap(), "nothing changed");

    root.rotate(Step::Prepare, &domain).unwrap();
    assert!(authority.reload().unwrap());
    let (prepared, prepared_chain) = (bundle(), issue(&authority));
    assert_eq!((prepared.roots.len(), prepared.signer), (2, old_bundle.signer));
    assert!(
        is_good(&prepared_chain, &old_bundle),
        "nodes that have not heard yet"
    );

    root.rotate(Step::Activate, &domain).unwrap();
    assert!(authority.reload().unwrap());
    let (activated, new_chain) = (bundle(), issue(&authority));
    assert_ne!(activated.signer, old_bundle.signer);
    assert!(
        is_good(&new_chain, &prepared),
        "nodes that heard of prepare and not yet of activate"
    );
    assert!(
        is_good(&old_chain, &activated),
        "certificates that are not renewed yet"
    );
    assert!(!is_good(&new_chain, &old_bundle));

    let Rotation::Stable { signer } = root.rotate(Step::Finish, &domain).unwrap() else {
        panic!("not finished")
    };
    assert!(authority.reload().unwrap());
    let finished = bundle();
    assert_eq!((finished.roots.len(), finished.signer), (1, activated.signer));
    assert_eq!(x509::hex(&finished.signer), signer);
    assert!(is_good(&new_chain, &finished));
    assert!(!is_good(&old_chain, &finished), "the old root is trusted no more");
    let files = fs::read_dir(directory.path().join("ca")).unwrap().count();
    assert_eq!(files, 4, "the old key and certificate are gone");
}

#[test]
fn steps_out_of_order_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::open(&config(directory.path())).unwrap();
    let root = Directory::new(&directory.path().join("ca"));
    let before = root.rotation().unwrap();
    for step in [Step::Activate, Step::Finish] {
        assert!(root.rotate(step, authority.trust_domain()).is_err());
    }
    assert_eq!(root.rotation().unwrap(), before);
    assert!(!authority.reload().unwrap());
}

#[test]
fn damaged_files_leave_the_signer_in_force() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::open(&config(directory.path())).unwrap();
    let state = directory.path().join("ca/state.json");
    fs::write(&state, "{").unwrap();
    let error = authority.reload().unwrap_err().to_string();
    assert!(
        error.contains("state.json") && error.contains("restore the file"),
        "{error}"
    );
    assert!(is_good(&issue(&authority), &authority.bundle().borrow()));
}

/// A root and an intermediate below it, as files.
struct Files {
    directory: tempfile::TempDir,
    config: CaConfig,
}

fn files(change: impl FnOnce(&mut CertificateParams)) -> Files {
    let authority = |name: &str| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params
    };
    let root_key = KeyPair::generate().unwrap();
    let root = authority("root");
    let root_certificate = root.self_signed(&root_key).unwrap();
    let issuer = rcgen::Issuer::new(root, root_key);
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let mut params = authority("intermediate");
    change(&mut params);
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    // The chain may carry the root; it is not sent.
    let chain = x509::to_pem(certificate.der()) + &x509::to_pem(root_certificate.der());
    fs::write(at("chain.pem"), chain).unwrap();
    fs::write(at("root.pem"), x509::to_pem(root_certificate.der())).unwrap();
    x509::write_private(&at("key.pem"), key.serialize_pem().as_bytes()).unwrap();
    let config = CaConfig {
        directory: None,
        certificate: Some(at("chain.pem")),
        key: Some(at("key.pem")),
        root: Some(at("root.pem")),
        ..config(directory.path())
    };
    Files { directory, config }
}

#[test]
fn an_intermediate_from_files_signs() {
    let files = files(|_| {});
    let authority = Authority::open(&files.config).unwrap();
    let chain = issue(&authority);
    assert_eq!(chain.len(), 2, "the leaf and the intermediate, without the root");
    let bundle = authority.bundle().borrow().clone();
    assert!(is_good(&chain, &bundle));
    assert_eq!(bundle.roots.len(), 1);
    assert_eq!(bundle.signer, x509::fingerprint(&chain[1]));
    assert!(is_good(&chain, &bundle));
}

#[test]
fn an_intermediate_that_can_not_sign_is_refused_at_the_start() {
    let refused = |files: &Files| Authority::open(&files.config).unwrap_err().to_string();
    let no_authority = files(|params| params.is_ca = IsCa::ExplicitNoCa);
    assert!(
        refused(&no_authority).contains("is no certificate of an authority"),
        "{}",
        refused(&no_authority)
    );
    let ended = files(|params| params.not_after = OffsetDateTime::now_utc() - Duration::from_secs(1));
    assert!(refused(&ended).contains("ends at"), "{}", refused(&ended));
    let other_key = files(|_| {});
    let key = KeyPair::generate().unwrap();
    x509::write_private(
        &other_key.directory.path().join("key.pem"),
        key.serialize_pem().as_bytes(),
    )
    .unwrap();
    assert!(
        refused(&other_key).contains("is not the certificate of the key"),
        "{}",
        refused(&other_key)
    );
    let other_root = files(|_| {});
    let root = files(|_| {});
    fs::copy(
        root.directory.path().join("root.pem"),
        other_root.directory.path().join("root.pem"),
    )
    .unwrap();
    assert!(
        refused(&other_root).contains("do not verify"),
        "{}",
        refused(&other_root)
    );
    let empty = files(|_| {});
    fs::write(empty.directory.path().join("chain.pem"), "").unwrap();
    assert!(
        refused(&empty).contains("holds no certificate"),
        "{}",
        refused(&empty)
    );
}

//! Certificates of the kind that the mesh's nodes have: ECDSA over P-256, a SPIFFE ID each, one signer.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};

use crate::load::Credentials;

/// What the Envoy of the client's node shows.
pub(super) const CLIENT: &str = "spiffe://bench.local/ns/bench/sa/client";
/// What the other shows.
pub(super) const SERVER: &str = "spiffe://bench.local/ns/bench/sa/server";

/// Files with PEM.
#[derive(Debug)]
pub(super) struct Certificates {
    pub(super) roots: PathBuf,
    pub(super) client: Pair,
    pub(super) server: Pair,
}

/// A certificate and its key.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

// === impl Certificates ===

impl Certificates {
    /// New ones, in a folder.
    pub(super) fn create(folder: &Path) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        let roots = folder.join("roots.pem");
        write(&roots, &root)?;
        Ok(Self {
            roots,
            client: issue(&issuer, folder, "client", CLIENT)?,
            server: issue(&issuer, folder, "server", SERVER)?,
        })
    }

    /// The first Envoy's, as a load shows them.
    pub(super) fn credentials(&self) -> Credentials {
        Credentials {
            certificate: self.client.certificate.clone(),
            key: self.client.key.clone(),
            roots: self.roots.clone(),
        }
    }
}

fn issue(issuer: &Issuer<'_, KeyPair>, folder: &Path, name: &str, identity: &str) -> Result<Pair> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(identity.try_into()?)];
    // Else it has its signer's name, and passes for one that signs itself.
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params.signed_by(&key, issuer)?;
    let pair = Pair {
        certificate: folder.join(format!("{name}.crt")),
        key: folder.join(format!("{name}.key")),
    };
    write(&pair.certificate, &certificate.pem())?;
    write(&pair.key, &key.serialize_pem())?;
    Ok(pair)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

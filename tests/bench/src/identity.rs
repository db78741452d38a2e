//! A certificate of the mesh for a client that is no node of it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use mesh_harness::control::Control;
use rcgen::{CertificateParams, Issuer, KeyPair, SanType};
use serde_json::Value;

use crate::load::Credentials;

/// Signed by the mesh's own signer, whose key lies on the control plane's disk.
pub(crate) fn issue(control: &Control, folder: &Path, identity: &str) -> Result<Credentials> {
    let ca = control.ca_folder();
    let read = |name: &str| {
        let path = ca.join(name);
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    };
    let state: Value = serde_json::from_str(&read("state.json")?)?;
    let signer = state["signer"].as_str().context("state.json names no signer")?;
    let (roots, key) = (read(&format!("{signer}.crt"))?, read(&format!("{signer}.key"))?);
    let issuer = Issuer::from_ca_cert_pem(&roots, KeyPair::from_pem(&key)?)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(identity.try_into()?)];
    let certificate = params.signed_by(&key, &issuer)?;
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        let written = fs::write(&path, text);
        written.with_context(|| format!("write {}", path.display()))?;
        Ok::<_, anyhow::Error>(path)
    };
    Ok(Credentials {
        certificate: file("client.crt", &certificate.pem())?,
        key: file("client.key", &key.serialize_pem())?,
        roots: file("roots.pem", &roots)?,
    })
}

//! `nodemesh.v1.TrustBundle`.

use mesh_model::TrustBundle;

use super::{ConvertError, trust_domain, value, wire};

pub(crate) fn to_wire(bundle: &TrustBundle) -> wire::TrustBundle {
    wire::TrustBundle {
        trust_domain: bundle.trust_domain.to_string(),
        roots: bundle.roots.clone(),
        signer: bundle.signer.to_vec(),
    }
}

pub(crate) fn from_wire(message: wire::TrustBundle) -> Result<TrustBundle, ConvertError> {
    if message.roots.is_empty() {
        return Err(value("roots", "there is none"));
    }
    let signer = message
        .signer
        .try_into()
        .map_err(|bytes: Vec<u8>| value("signer", format!("has {} bytes, not 32", bytes.len())))?;
    Ok(TrustBundle {
        trust_domain: trust_domain(&message.trust_domain)?,
        roots: message.roots,
        signer,
    })
}

//! A root, and certificates of workloads.

use anyhow::Result;
use mesh_model::{Identity, TrustBundle, TrustDomain};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use zeroize::Zeroizing;

use super::resources::{self, TRUST_DOMAIN};

/// What was made.
pub(super) struct Made {
    pub(super) trust: TrustBundle,
    pub(super) of: Vec<Certificate>,
}

/// A workload's certificate and key, in DER.
pub(super) struct Certificate {
    pub(super) identity: Identity,
    pub(super) chain: Vec<Vec<u8>>,
    pub(super) key: Zeroizing<Vec<u8>>,
}

/// Makes a root, and a certificate for each of these workloads.
pub(super) fn make(workloads: &[&str]) -> Result<Made> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let mut of = Vec::new();
    for workload in workloads {
        let identity = resources::identity(workload)?;
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into()?)];
        let key = KeyPair::generate()?;
        of.push(Certificate {
            identity,
            chain: vec![params.signed_by(&key, &root)?.der().to_vec()],
            key: Zeroizing::new(key.serialize_der()),
        });
    }
    let trust = TrustBundle {
        trust_domain: TrustDomain::new(TRUST_DOMAIN)?,
        roots: vec![root.der().to_vec()],
        signer: [0; 32],
    };
    Ok(Made { trust, of })
}

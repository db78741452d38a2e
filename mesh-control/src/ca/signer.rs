//! What signs: a key, its certificate, the chain up to the root, and the roots that are trusted.
//!
//! A signer that exists works: making one issues a throwaway certificate and verifies it against the roots, as a
//! peer would.

use std::path::Path;
use std::time::Duration;

use mesh_model::{Identity, TrustBundle, TrustDomain};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;

use super::{CaError, x509};

/// How far a certificate's beginning lies back, for nodes whose clocks are behind. At most [`BACKDATE_SHARE`] of its
/// life, so that half of a short one is not over when it begins.
const BACKDATE: Duration = Duration::from_mins(1);
/// See [`BACKDATE`]: a tenth.
const BACKDATE_SHARE: u32 = 10;
/// A signer this close to its end issues nothing: the certificates would be of no use.
const MIN_REMAINING: Duration = Duration::from_secs(10);
/// The organisation in the subject of every certificate.
const ORGANIZATION: &str = "nodemesh";

/// Signs certificates.
#[derive(Debug)]
pub struct Signer {
    issuer: Issuer<'static, KeyPair>,
    /// The issuing certificate.
    certificate: CertificateDer<'static>,
    not_after: OffsetDateTime,
    /// What goes behind a leaf: the issuing certificate and those above it, without the root.
    intermediates: Vec<CertificateDer<'static>>,
    roots: Vec<CertificateDer<'static>>,
}

/// Why a certificate was not issued.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The signer itself is about to end.
    #[error("the signing certificate ends at {0}; roll the root over, or renew the intermediate")]
    Expired(OffsetDateTime),
    /// The library refused.
    #[error("the certificate could not be made: {0}")]
    Crypto(#[from] rcgen::Error),
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy)]
enum Purpose<'a> {
    Workload(&'a Identity),
    Server(&'a str),
}

// === impl Signer ===

impl Signer {
    /// Joins the parts. `path` names the certificate in errors.
    pub(super) fn new(
        path: &Path,
        certificate: CertificateDer<'static>,
        key: KeyPair,
        intermediates: Vec<CertificateDer<'static>>,
        roots: Vec<CertificateDer<'static>>,
    ) -> Result<Self, CaError> {
        let not_after = x509::not_after(path, &certificate)?;
        check_is_authority(path, &certificate, &key)?;
        let signer = Self {
            issuer: Issuer::from_ca_cert_der(&certificate, key)?,
            certificate,
            not_after,
            intermediates,
            roots,
        };
        signer.try_out()?;
        Ok(signer)
    }

    /// A certificate for a workload, and the chain behind it up to but without the root.
    pub fn sign_workload(
        &self,
        key: &impl PublicKeyData,
        identity: &Identity,
        lifetime: Duration,
        now: OffsetDateTime,
    ) -> Result<Vec<CertificateDer<'static>>, SigningError> {
        self.sign(key, Purpose::Workload(identity), lifetime, now)
    }

    /// A certificate for the control plane's own listener.
    pub fn sign_server(
        &self,
        key: &impl PublicKeyData,
        name: &str,
        lifetime: Duration,
        now: OffsetDateTime,
    ) -> Result<Vec<CertificateDer<'static>>, SigningError> {
        self.sign(key, Purpose::Server(name), lifetime, now)
    }

    /// The trust bundle while this signs.
    pub fn bundle(&self, trust_domain: &TrustDomain) -> TrustBundle {
        TrustBundle {
            trust_domain: trust_domain.clone(),
            roots: self.roots.iter().map(|root| root.to_vec()).collect(),
            signer: self.fingerprint(),
        }
    }

    /// SHA-256 of the issuing certificate.
    pub fn fingerprint(&self) -> [u8; 32] {
        x509::fingerprint(&self.certificate)
    }

    /// Whether leaves get the same certificates behind them.
    pub(super) fn has_chain_of(&self, other: &Signer) -> bool {
        self.intermediates == other.intermediates
    }

    /// When the issuing certificate ends.
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// The trusted roots as PEM.
    pub fn roots_pem(&self) -> String {
        self.roots.iter().map(|root| x509::to_pem(root)).collect()
    }

    fn sign(
        &self,
        key: &impl PublicKeyData,
        purpose: Purpose<'_>,
        lifetime: Duration,
        now: OffsetDateTime,
    ) -> Result<Vec<CertificateDer<'static>>, SigningError> {
        if now + MIN_REMAINING >= self.not_after {
            return Err(SigningError::Expired(self.not_after));
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, ORGANIZATION);
        params.not_before = now - BACKDATE.min(lifetime / BACKDATE_SHARE);
        params.not_after = (now + lifetime).min(self.not_after);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        match purpose {
            Purpose::Workload(identity) => {
                params.extended_key_usages = vec![
                    ExtendedKeyUsagePurpose::ClientAuth,
                    ExtendedKeyUsagePurpose::ServerAuth,
                ];
                params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into()?)];
            }
            Purpose::Server(name) => {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                params.subject_alt_names = vec![SanType::DnsName(name.to_owned().try_into()?)];
            }
        }
        let leaf = params.signed_by(key, &self.issuer)?;
        Ok(std::iter::once(leaf.der().clone())
            .chain(self.intermediates.iter().cloned())
            .collect())
    }

    /// Issues a certificate to nobody, and verifies it: finds a wrong chain, an end passed, a path length of zero,
    /// a name constraint.
    fn try_out(&self) -> Result<(), CaError> {
        const NAME: &str = "try-out.invalid";
        let key = KeyPair::generate()?;
        let chain = self
            .sign_server(&key, NAME, BACKDATE, OffsetDateTime::now_utc())
            .map_err(|error| CaError::Chain(error.to_string()))?;
        let anchors: Result<Vec<_>, _> = self.roots.iter().map(webpki::anchor_from_trusted_cert).collect();
        let verify = || {
            let anchors = anchors?;
            let (leaf, above) = chain.split_first().ok_or(webpki::Error::BadDer)?;
            webpki::EndEntityCert::try_from(leaf)?
                .verify_for_usage(
                    webpki::ALL_VERIFICATION_ALGS,
                    &anchors,
                    above,
                    UnixTime::now(),
                    webpki::KeyUsage::server_auth(),
                    None,
                    None,
                )
                .map(drop)
        };
        verify().map_err(|error: webpki::Error| CaError::Chain(error.to_string()))
    }
}

fn check_is_authority(path: &Path, certificate: &[u8], key: &KeyPair) -> Result<(), CaError> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|error| CaError::content(path, format!("is no X.509 certificate: {error}")))?;
    if !parsed.is_ca() {
        let reason = "is no certificate of an authority (CA:TRUE); ask for one that may sign";
        return Err(CaError::content(path, reason));
    }
    if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
        let reason = "is not the certificate of the key; let the two files belong together";
        return Err(CaError::content(path, reason));
    }
    Ok(())
}

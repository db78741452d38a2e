//! A certificate with its key, ready for TLS, and the making of requests for one.

use std::sync::Arc;

use mesh_model::Identity;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use super::verify::spiffe_id;

/// Why a certificate can't be used.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    /// The key or the request could not be made.
    #[error("cannot make a key or a certificate request: {0}")]
    Request(#[from] rcgen::Error),
    /// The chain is empty or does not parse.
    #[error("the certificate does not parse: {0}")]
    Parse(String),
    /// The certificate names somebody else.
    #[error("the certificate is for {found}, not for {expected}")]
    Identity {
        /// Whom it names.
        found: String,
        /// Whom it was asked for.
        expected: Identity,
    },
    /// Certificate and key don't belong together, or TLS can't use them.
    #[error("TLS cannot use the certificate with its key: {0}")]
    Tls(#[from] rustls::Error),
}

/// A private key with the request for its certificate.
pub struct Request {
    /// PKCS #8 in DER.
    pub key: Zeroizing<Vec<u8>>,
    /// PKCS #10 in DER.
    pub csr: Vec<u8>,
}

/// An identity's certificate chain and key.
pub struct Material {
    /// Whose it is.
    pub identity: Identity,
    /// For TLS.
    pub certified: Arc<CertifiedKey>,
    /// DER, the leaf first.
    pub chain: Vec<Vec<u8>>,
    /// PKCS #8 in DER.
    pub key: Zeroizing<Vec<u8>>,
    /// In hexadecimal.
    pub serial: String,
    /// Seconds since 1970.
    pub not_before: i64,
    /// Seconds since 1970.
    pub not_after: i64,
    /// SHA-256 of the certificate that signs; renewed early when the trust bundle names another.
    pub signer: [u8; 32],
}

// === impl Request ===

impl Request {
    /// Makes a P-256 key and a request for its certificate: the SPIFFE ID as the only name, and no subject.
    pub fn new(identity: &Identity) -> Result<Self, MaterialError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into()?)];
        let csr = params.serialize_request(&key)?.der().to_vec();
        Ok(Self {
            key: Zeroizing::new(key.serialize_der()),
            csr,
        })
    }
}

// === impl Material ===

impl Material {
    /// Checks that the chain is for the identity and the key, and prepares both for TLS.
    pub fn new(
        identity: Identity,
        chain: Vec<Vec<u8>>,
        key: Zeroizing<Vec<u8>>,
        signer: [u8; 32],
        provider: &CryptoProvider,
    ) -> Result<Self, MaterialError> {
        let leaf = chain
            .first()
            .ok_or_else(|| MaterialError::Parse("there is none".to_owned()))?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|e| MaterialError::Parse(e.to_string()))?;
        let (not_before, not_after) = (
            parsed.validity().not_before.timestamp(),
            parsed.validity().not_after.timestamp(),
        );
        let serial = parsed.tbs_certificate.raw_serial_as_string();
        match spiffe_id(&CertificateDer::from_slice(leaf)) {
            Ok(found) if found == identity => {}
            Ok(found) => {
                return Err(MaterialError::Identity {
                    found: found.to_string(),
                    expected: identity,
                });
            }
            Err(error) => return Err(MaterialError::Parse(error.to_string())),
        }
        let certificates = chain
            .iter()
            .map(|der| CertificateDer::from(der.clone()))
            .collect();
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.to_vec()));
        let certified = Arc::new(CertifiedKey::from_der(certificates, private, provider)?);
        Ok(Self {
            identity,
            certified,
            chain,
            key,
            serial,
            not_before,
            not_after,
            signer,
        })
    }
}

impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Material")
            .field("identity", &self.identity)
            .field("serial", &self.serial)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

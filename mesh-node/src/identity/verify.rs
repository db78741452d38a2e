//! Who a peer is: verification of certificate chains and of the SPIFFE ID in them.
//!
//! A peer is accepted when its chain leads to a root of the trust bundle *and* its certificate has exactly one URI
//! name, a SPIFFE ID of the same trust domain (X.509-SVID §2); a server's must moreover be one that is expected.
//! Whatever can't be verified is refused.

use std::fmt;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use mesh_model::{Identity, TrustBundle, TrustDomain};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Why a certificate names no peer of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The certificate does not parse.
    #[error("the peer's certificate does not parse: {0}")]
    Parse(String),
    /// There must be one URI name.
    #[error("the peer's certificate has {0} URI names; a workload's has exactly one, its SPIFFE ID")]
    Names(usize),
    /// The URI name is no SPIFFE ID of the mesh's form.
    #[error("the peer's certificate names no workload: {0}")]
    NoWorkload(String),
    /// Another trust domain.
    #[error("the peer {peer} is not of this mesh's trust domain {expected}")]
    TrustDomain {
        /// The peer.
        peer: String,
        /// Ours.
        expected: TrustDomain,
    },
    /// Not whom the client wanted to reach.
    #[error("the server is {found}, but {expected} was to be reached")]
    Unexpected {
        /// Who answered.
        found: Identity,
        /// Who was to be reached.
        expected: Identity,
    },
    /// Nobody is trusted yet.
    #[error("the control plane has not yet said which roots to trust")]
    NoRoots,
}

/// The roots in force. Read by every handshake, replaced as a whole.
#[derive(Debug)]
pub struct Trust {
    roots: ArcSwapOption<Roots>,
    provider: Arc<CryptoProvider>,
}

/// Verifies clients. One for the process.
#[derive(Debug)]
pub struct ClientVerifier {
    trust: Arc<Trust>,
}

/// Verifies one server, whose identity is known beforehand.
#[derive(Debug)]
pub struct ServerVerifier {
    trust: Arc<Trust>,
    expected: Identity,
}

struct Roots {
    trust_domain: TrustDomain,
    store: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
}

// === impl Trust ===

impl Trust {
    /// Trusts nobody yet.
    pub fn new(provider: Arc<CryptoProvider>) -> Self {
        Self {
            roots: ArcSwapOption::empty(),
            provider,
        }
    }

    /// Trusts these roots, and no others. A bundle without a usable root changes nothing.
    pub fn replace(&self, bundle: &TrustBundle) -> Result<(), String> {
        let mut store = RootCertStore::empty();
        for root in &bundle.roots {
            store
                .add(CertificateDer::from(root.clone()))
                .map_err(|e| e.to_string())?;
        }
        let store = Arc::new(store);
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&store), Arc::clone(&self.provider))
                .build()
                .map_err(|e| e.to_string())?;
        let trust_domain = bundle.trust_domain.clone();
        self.roots.store(Some(Arc::new(Roots {
            trust_domain,
            store,
            clients,
        })));
        Ok(())
    }

    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.provider.signature_verification_algorithms
    }

    fn roots(&self) -> Result<Arc<Roots>, rustls::Error> {
        self.roots.load_full().ok_or_else(|| refusal(PeerError::NoRoots))
    }
}

// === impl Roots ===

impl Roots {
    fn check_domain(&self, peer: &Identity) -> Result<(), PeerError> {
        if *peer.trust_domain() == self.trust_domain {
            return Ok(());
        }
        Err(PeerError::TrustDomain {
            peer: peer.to_string(),
            expected: self.trust_domain.clone(),
        })
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({}, {})", self.trust_domain, self.store.len())
    }
}

/// The SPIFFE ID in a certificate that has been verified.
pub fn spiffe_id(certificate: &CertificateDer<'_>) -> Result<Identity, PeerError> {
    let certificate =
        webpki::EndEntityCert::try_from(certificate).map_err(|e| PeerError::Parse(e.to_string()))?;
    let names: Vec<&str> = certificate.valid_uri_names().collect();
    match names.as_slice() {
        [name] => name
            .parse()
            .map_err(|e: mesh_model::IdentityError| PeerError::NoWorkload(e.to_string())),
        names => Err(PeerError::Names(names.len())),
    }
}

fn refusal(error: PeerError) -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}

/// Why TLS failed, in the words of this module where it was this module that refused.
pub fn explain(error: &io::Error) -> String {
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        Some(error) => explain_tls(error),
        None => error.to_string(),
    }
}

fn explain_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(reason))) => reason.to_string(),
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the peer's certificate was issued by nobody whom this mesh trusts (UnknownIssuer)".to_owned()
        }
        rustls::Error::NoCertificatesPresented => "the peer showed no certificate".to_owned(),
        other => other.to_string(),
    }
}

// === impl ClientVerifier ===

impl ClientVerifier {
    /// Verifies against the roots in force at each handshake.
    pub fn new(trust: Arc<Trust>) -> Self {
        Self { trust }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // The roots change while this lives; clients have one certificate and need no hint.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let roots = self.trust.roots()?;
        let verified = roots.clients.verify_client_cert(end_entity, intermediates, now)?;
        let peer = spiffe_id(end_entity).map_err(refusal)?;
        roots.check_domain(&peer).map_err(refusal)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, self.trust.algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, self.trust.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.algorithms().supported_schemes()
    }
}

// === impl ServerVerifier ===

impl ServerVerifier {
    /// Accepts one identity only.
    pub fn new(trust: Arc<Trust>, expected: Identity) -> Self {
        Self { trust, expected }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let roots = self.trust.roots()?;
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &roots.store,
            intermediates,
            now,
            self.trust.algorithms().all,
        )?;
        let found = spiffe_id(end_entity).map_err(refusal)?;
        roots.check_domain(&found).map_err(refusal)?;
        if found != self.expected {
            return Err(refusal(PeerError::Unexpected {
                found,
                expected: self.expected.clone(),
            }));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, self.trust.algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, self.trust.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.algorithms().supported_schemes()
    }
}

#[cfg(test)]
mod tests;

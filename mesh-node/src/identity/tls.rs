//! TLS of the tunnels: version 1.3 only, HTTP/2 by ALPN, certificates on both sides, no resumption.

use std::sync::Arc;

use mesh_model::Identity;
use rustls::client::ResolvesClientCert;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig, SignatureScheme};
use rustls_pki_types::{DnsName, ServerName};

use super::verify::{ClientVerifier, ServerVerifier, Trust};
use super::{Material, Store};

/// The one protocol in the tunnel's TLS.
const ALPN_H2: &[u8] = b"h2";
/// What a server name that tells host-network workloads apart ends in. `.internal` is never delegated.
const HOST_NETWORK_SUFFIX: &str = ".workload.nodemesh.internal";
/// Longest DNS name (RFC 1035 §2.3.4).
const MAX_DNS_NAME: usize = 253;

/// Makes the TLS configurations of the process.
#[derive(Debug, Clone)]
pub struct Tls {
    provider: Arc<CryptoProvider>,
    trust: Arc<Trust>,
    store: Arc<Store>,
}

/// Whose certificate a listener shows.
#[derive(Debug, Clone)]
pub enum Shown {
    /// One workload's: the listener is in its namespace.
    One(Identity),
    /// A host-network workload's: the server name says whose. Without one, the only one's.
    HostNetwork,
}

/// Shows the certificate that is in force at each handshake.
#[derive(Debug)]
struct ServerCertificates {
    store: Arc<Store>,
    shown: Shown,
    host_identities: Arc<dyn HostIdentities>,
}

/// The identities of this node's host-network workloads.
pub trait HostIdentities: std::fmt::Debug + Send + Sync {
    /// Whether one of them has this identity.
    fn contains(&self, identity: &Identity) -> bool;
    /// The identity, when they all have the same.
    fn only(&self) -> Option<Identity>;
}

#[derive(Debug)]
struct ClientCertificate(Arc<Material>);

/// The cryptography of the process: aws-lc, with TLS 1.3 suites. AES-128 first: the hash that goes with it is one that
/// processors have instructions for, and a handshake costs a sixth less.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
            aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
        ],
        ..aws_lc_rs::default_provider()
    })
}

// === impl Tls ===

impl Tls {
    /// Joins the parts.
    pub fn new(provider: Arc<CryptoProvider>, trust: Arc<Trust>, store: Arc<Store>) -> Self {
        Self {
            provider,
            trust,
            store,
        }
    }

    /// The configuration of a listener.
    pub fn server(
        &self,
        shown: Shown,
        host_identities: Arc<dyn HostIdentities>,
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let verifier = Arc::new(ClientVerifier::new(Arc::clone(&self.trust)));
        let certificates = ServerCertificates {
            store: Arc::clone(&self.store),
            shown,
            host_identities,
        };
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(certificates));
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// The configuration for one connection to one identity.
    pub fn client(&self, own: Arc<Material>, expected: Identity) -> Result<Arc<ClientConfig>, rustls::Error> {
        let verifier = Arc::new(ServerVerifier::new(Arc::clone(&self.trust), expected));
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(ClientCertificate(own)));
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Arc::new(config))
    }
}

/// The server name to send to a host-network workload; `None` when the identity's names are too long for one.
pub fn host_server_name(identity: &Identity) -> Option<ServerName<'static>> {
    let name = format!(
        "{}.{}{HOST_NETWORK_SUFFIX}",
        identity.service_account(),
        identity.namespace()
    );
    if name.len() > MAX_DNS_NAME {
        return None;
    }
    DnsName::try_from(name).ok().map(ServerName::DnsName)
}

/// Service account and namespace of a server name that [`host_server_name`] made.
fn from_server_name(name: &str) -> Option<(&str, &str)> {
    // A namespace has no dot, a service account may have some.
    name.strip_suffix(HOST_NETWORK_SUFFIX)?.rsplit_once('.')
}

// === impl ServerCertificates ===

impl ServerCertificates {
    fn identity(&self, server_name: Option<&str>) -> Option<Identity> {
        match (&self.shown, server_name) {
            (Shown::One(identity), _) => Some(identity.clone()),
            (Shown::HostNetwork, None) => self.host_identities.only(),
            (Shown::HostNetwork, Some(name)) => {
                let (service_account, namespace) = from_server_name(name)?;
                self.store
                    .all()
                    .iter()
                    .map(|material| &material.identity)
                    .find(|id| id.service_account() == service_account && id.namespace() == namespace)
                    .filter(|id| self.host_identities.contains(id))
                    .cloned()
            }
        }
    }
}

impl ResolvesServerCert for ServerCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let server_name = hello.server_name();
        let certificate = self
            .identity(server_name)
            .and_then(|identity| self.store.get(&identity))
            .map(|m| Arc::clone(&m.certified));
        if certificate.is_none() {
            tracing::warn!(?server_name, shown = ?self.shown, "no certificate to show to a client");
        }
        certificate
    }
}

// === impl ClientCertificate ===

impl ResolvesClientCert for ClientCertificate {
    fn resolve(&self, _roots: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.certified))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use mesh_model::fixture;

    use super::*;

    #[test]
    fn the_server_name_tells_the_identity() {
        for account in ["web", "web.v1", "a"] {
            let identity = fixture::identity("shop", account);
            let Some(ServerName::DnsName(name)) = host_server_name(&identity) else {
                panic!("no name")
            };
            assert_eq!(from_server_name(name.as_ref()), Some((account, "shop")));
        }
        assert_eq!(from_server_name("web.shop.example.org"), None);
    }

    #[test]
    fn names_too_long_for_dns_are_not_sent() {
        let account = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(50)].join(".");
        assert!(host_server_name(&fixture::identity("shop", &account)).is_none());
    }
}

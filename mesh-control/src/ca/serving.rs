//! The control plane's own certificate: issued by its own authority at the start, and again at half its life or when
//! the signer changes, without a restart.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use mesh_runtime::drain::Drain;
use rcgen::KeyPair;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

use super::{Authority, CaError};

/// How long to wait before another attempt when a renewal failed.
const RETRY: Duration = Duration::from_secs(30);

/// The certificate that the gRPC listener shows.
#[derive(Debug)]
pub struct ServingCertificate {
    authority: Arc<Authority>,
    name: String,
    current: ArcSwap<CertifiedKey>,
}

// === impl ServingCertificate ===

impl ServingCertificate {
    /// Issues the first certificate, for this DNS name.
    pub fn issue(authority: &Arc<Authority>, name: &str) -> Result<Self, CaError> {
        let first = certified_key(authority, name)?;
        Ok(Self {
            authority: Arc::clone(authority),
            name: name.to_owned(),
            current: ArcSwap::from_pointee(first),
        })
    }

    /// Renews the certificate until the drain.
    pub async fn renew(self: Arc<Self>, drain: Drain) {
        let mut bundle = self.authority.bundle();
        // Marks the present one as seen: it signed the first certificate.
        bundle.borrow_and_update();
        let mut pause = self.authority.lifetime() / 2;
        loop {
            tokio::select! {
                () = drain.stopping() => return,
                () = tokio::time::sleep(pause) => {}
                changed = bundle.changed() => if changed.is_err() { return },
            }
            match certified_key(&self.authority, &self.name) {
                Ok(key) => {
                    self.current.store(Arc::new(key));
                    pause = self.authority.lifetime() / 2;
                    tracing::info!(name = self.name, "renewed the control plane's own certificate");
                }
                Err(error) => {
                    pause = RETRY;
                    tracing::error!(%error, "cannot renew the control plane's own certificate; trying again");
                }
            }
        }
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn certified_key(authority: &Authority, name: &str) -> Result<CertifiedKey, CaError> {
    let key = KeyPair::generate()?;
    let chain = authority
        .signer()
        .sign_server(&key, name, authority.lifetime(), OffsetDateTime::now_utc())
        .map_err(|error| CaError::Refused(error.to_string()))?;
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider()).map_err(|error| {
        CaError::Refused(format!(
            "the control plane's own certificate is unusable: {error}"
        ))
    })
}

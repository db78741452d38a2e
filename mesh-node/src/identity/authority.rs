//! Getting certificates signed by the control plane.

use std::sync::Arc;
use std::time::Duration;

use mesh_api::wire::nodemesh::v1::SignRequest;
use mesh_api::wire::nodemesh::v1::certificate_authority_client::CertificateAuthorityClient;
use mesh_model::Identity;
use rustls::crypto::CryptoProvider;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::material::{Material, MaterialError, Request};
use crate::control::{Control, ControlError};

/// Requests under way at once (ztunnel's value): a node with many workloads must not flood a control plane that
/// has just come up.
const MAX_CONCURRENT: usize = 8;
/// Longest wait for one certificate, connecting included.
const SIGN_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The control plane can't be reached, or refuses.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The request could not be made, or the answer can't be used.
    #[error(transparent)]
    Material(#[from] MaterialError),
    /// The answer does not say who signed.
    #[error("the control plane's answer does not say who signed")]
    Signer,
    /// No answer.
    #[error("the control plane has not signed within {} s", SIGN_TIMEOUT.as_secs())]
    Timeout,
}

/// The control plane's certificate authority.
#[derive(Debug)]
pub struct Authority {
    control: Control,
    provider: Arc<CryptoProvider>,
    concurrency: Semaphore,
}

// === impl Authority ===

impl Authority {
    /// Signs through the control plane.
    pub fn new(control: Control, provider: Arc<CryptoProvider>) -> Self {
        Self {
            control,
            provider,
            concurrency: Semaphore::new(MAX_CONCURRENT),
        }
    }

    /// Makes a key and gets a certificate for it.
    pub async fn sign(&self, identity: &Identity) -> Result<Material, SignError> {
        // The semaphore is never closed; were it, the worst would be one request too many.
        let _permit = self.concurrency.acquire().await.ok();
        timeout(SIGN_TIMEOUT, self.sign_one(identity))
            .await
            .map_err(|_| SignError::Timeout)?
    }

    async fn sign_one(&self, identity: &Identity) -> Result<Material, SignError> {
        let request = Request::new(identity)?;
        let session = self.control.connect().await?;
        let message = SignRequest {
            csr: request.csr,
            identity: identity.to_string(),
        };
        let answer = CertificateAuthorityClient::new(session.channel.clone())
            .sign(session.request(message))
            .await
            .map_err(ControlError::Status)?
            .into_inner();
        let signer = answer.signer.try_into().map_err(|_| SignError::Signer)?;
        Ok(Material::new(
            identity.clone(),
            answer.chain,
            request.key,
            signer,
            &self.provider,
        )?)
    }
}

//! The signing service: one request, one certificate, or one clear refusal.

use std::sync::Arc;

use mesh_api::wire::nodemesh::v1::certificate_authority_server::CertificateAuthority;
use mesh_api::wire::nodemesh::v1::{SignRequest, SignResponse};
use mesh_model::{Identity, NodeName};
use time::OffsetDateTime;
use tonic::{Request, Response, Status};

use super::{Authority, RequestError, Roster, SigningError, request};
use crate::attest::Caller;
use crate::telemetry::{Metrics, RefusalReason};

/// Answers `nodemesh.v1.CertificateAuthority`.
pub struct SigningService {
    authority: Arc<Authority>,
    roster: Arc<dyn Roster>,
    metrics: Metrics,
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the identity of the certificate request: {0}")]
    Identity(#[from] mesh_model::IdentityError),
    #[error("'{identity}' is not of this mesh's trust domain {trust_domain}")]
    TrustDomain {
        identity: Identity,
        trust_domain: mesh_model::TrustDomain,
    },
    #[error(
        "no enrolled workload of node {node} has the identity {identity}; check the Workload's node, serviceAccount and label nodemesh.io/mesh"
    )]
    NotThere { node: NodeName, identity: Identity },
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Signing(#[from] SigningError),
}

// === impl SigningService ===

impl SigningService {
    /// Signs with `authority` whatever `roster` allows.
    pub fn new(authority: Arc<Authority>, roster: Arc<dyn Roster>, metrics: Metrics) -> Self {
        Self {
            authority,
            roster,
            metrics,
        }
    }

    fn answer(&self, node: &NodeName, request: &SignRequest) -> Result<SignResponse, Refusal> {
        let identity: Identity = request.identity.parse()?;
        let trust_domain = self.authority.trust_domain();
        if identity.trust_domain() != trust_domain {
            return Err(Refusal::TrustDomain {
                identity,
                trust_domain: trust_domain.clone(),
            });
        }
        if !self.roster.runs(node, &identity) {
            return Err(Refusal::NotThere {
                node: node.clone(),
                identity,
            });
        }
        let key = request::verified_key(&request.csr)?;
        let (signer, lifetime) = (self.authority.signer(), self.authority.lifetime());
        let chain = signer.sign_workload(&key, &identity, lifetime, OffsetDateTime::now_utc())?;
        Ok(SignResponse {
            chain: chain.into_iter().map(|link| link.to_vec()).collect(),
            signer: signer.fingerprint().to_vec(),
        })
    }
}

#[tonic::async_trait]
impl CertificateAuthority for SigningService {
    async fn sign(&self, request: Request<SignRequest>) -> Result<Response<SignResponse>, Status> {
        let node = Caller::of(&request)?.node().clone();
        let request = request.into_inner();
        match self.answer(&node, &request) {
            Ok(response) => {
                self.metrics.certificates_signed.inc();
                tracing::info!(%node, identity = request.identity, "signed a certificate");
                Ok(Response::new(response))
            }
            Err(refusal) => {
                self.metrics.refused(refusal.reason());
                tracing::warn!(%node, identity = request.identity, %refusal, "refused to sign a certificate");
                Err(refusal.status())
            }
        }
    }
}

// === impl Refusal ===

impl Refusal {
    fn reason(&self) -> RefusalReason {
        match self {
            Self::Identity(_) | Self::Request(_) => RefusalReason::InvalidRequest,
            Self::TrustDomain { .. } | Self::NotThere { .. } => RefusalReason::Identity,
            Self::Signing(_) => RefusalReason::Signer,
        }
    }

    fn status(&self) -> Status {
        let text = self.to_string();
        match self.reason() {
            RefusalReason::InvalidRequest => Status::invalid_argument(text),
            RefusalReason::Identity => Status::permission_denied(text),
            // Another attempt may find the signer renewed.
            RefusalReason::Signer => Status::unavailable(text),
        }
    }
}

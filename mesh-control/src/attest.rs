//! Who calls: the node whose join token comes with the call.
//!
//! Every call passes here first. What is let through carries a [`Caller`]; what is not never reaches a service.

use mesh_model::NodeName;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::telemetry::Metrics;
use crate::tokens::{Roll, Token};

/// The scheme of the authorization header (RFC 6750 §2.1).
const SCHEME: &str = "Bearer ";

/// Lets calls with a valid token through.
#[derive(Clone)]
pub struct Attestor {
    roll: Roll,
    metrics: Metrics,
}

/// The node that calls.
#[derive(Clone)]
pub struct Caller {
    node: NodeName,
    digest: [u8; 32],
    roll: Roll,
}

// === impl Attestor ===

impl Attestor {
    /// Believes the tokens on this roll.
    pub fn new(roll: Roll, metrics: Metrics) -> Self {
        Self { roll, metrics }
    }

    fn caller(&self, request: &Request<()>) -> Result<Caller, &'static str> {
        let header = request
            .metadata()
            .get("authorization")
            .ok_or("the call has no join token")?;
        let token = header
            .to_str()
            .ok()
            .and_then(|text| text.strip_prefix(SCHEME))
            .and_then(Token::parse)
            .ok_or("what the call shows is no join token")?;
        let caller = Caller {
            node: token.node().clone(),
            digest: token.digest(),
            roll: self.roll.clone(),
        };
        if caller.is_valid() {
            Ok(caller)
        } else {
            Err("the join token is not known, or was revoked")
        }
    }
}

impl Interceptor for Attestor {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        match self.caller(&request) {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                Ok(request)
            }
            Err(reason) => {
                self.metrics.unauthenticated();
                let peer = request.remote_addr().map(|address| address.to_string());
                tracing::warn!(peer, reason, "refused a call");
                Err(Status::unauthenticated(format!(
                    "{reason}; make one with 'mesh-control token create --node NAME' and put it into the node's control.token-file"
                )))
            }
        }
    }
}

// === impl Caller ===

impl Caller {
    /// The caller of a request that an [`Attestor`] let through.
    pub fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        request
            .extensions()
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Status::unauthenticated("the call has no join token"))
    }

    /// The node.
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// Whether its token is still valid.
    pub fn is_valid(&self) -> bool {
        self.roll.is_valid(&self.node, &self.digest)
    }

    /// Waits until the token is not valid any more.
    pub async fn revoked(&self) {
        let mut roll = self.roll.clone();
        while self.is_valid() {
            roll.changed().await;
        }
    }
}

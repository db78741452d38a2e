//! The connection to the control plane: one gRPC channel over TLS, with the node's join token.
//!
//! Its certificate is verified against the roots of the configured file *and* of the trust bundle in force, so that
//! a rollover of the root does not cut the node off.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, TrustAnchor};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use crate::config::ControlConfig;
use crate::state::Store;

/// Longest wait for TCP and TLS to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// HTTP/2 PING: how often (ztunnel's value towards its control plane).
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// HTTP/2 PING: how long an answer is waited for (likewise).
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest token file that is read, in bytes.
const MAX_TOKEN: u64 = 4096;

/// Why the control plane can't be reached.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A file that the configuration names can't be read.
    #[error("cannot read {}: {source}; the key {key} in the configuration names it", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The configuration's key.
        key: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file that the configuration names has no usable content.
    #[error("{}: {reason}; the key {key} in the configuration names it", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The configuration's key.
        key: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The address is none.
    #[error("control.address '{address}' is no HOST:PORT: {source}")]
    Address {
        /// As configured.
        address: String,
        /// What is wrong.
        source: tonic::transport::Error,
    },
    /// TCP or TLS did not come about.
    #[error("cannot connect to the control plane at {address}: {}", causes(source))]
    Connect {
        /// As configured.
        address: String,
        /// What went wrong.
        source: tonic::transport::Error,
    },
    /// The control plane answered with an error.
    #[error("the control plane answers {:?}: {}", .0.code(), .0.message())]
    Status(#[from] tonic::Status),
}

/// Makes connections to the control plane.
#[derive(Debug, Clone)]
pub struct Control {
    config: Arc<ControlConfig>,
    store: Arc<Store>,
}

/// An open channel, with the header that authenticates its calls.
#[derive(Debug, Clone)]
pub struct Session {
    /// The channel.
    pub channel: Channel,
    /// The value of `authorization`.
    pub authorization: MetadataValue<Ascii>,
}

// === impl Control ===

impl Control {
    /// Takes the configured roots, and the trust bundle from the snapshot.
    pub fn new(config: ControlConfig, store: Arc<Store>) -> Self {
        Self {
            config: Arc::new(config),
            store,
        }
    }

    /// The configured address.
    pub fn address(&self) -> &str {
        &self.config.address
    }

    /// Reads the files anew and connects.
    pub async fn connect(&self) -> Result<Session, ControlError> {
        let authorization = self.authorization()?;
        let tls = ClientTlsConfig::new()
            .domain_name(&self.config.server_name)
            .trust_anchors(self.roots()?);
        let address = || self.config.address.clone();
        let endpoint = Endpoint::from_shared(format!("https://{}", self.config.address))
            .and_then(|endpoint| endpoint.tls_config(tls))
            .map_err(|source| ControlError::Address {
                address: address(),
                source,
            })?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_keepalive(Some(PING_INTERVAL))
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true);
        let channel = endpoint.connect().await.map_err(|source| ControlError::Connect {
            address: address(),
            source,
        })?;
        Ok(Session {
            channel,
            authorization,
        })
    }

    /// Checks what can be checked without a connection.
    pub fn check(&self) -> Result<(), ControlError> {
        self.authorization()?;
        self.roots()?;
        Ok(())
    }

    fn authorization(&self) -> Result<MetadataValue<Ascii>, ControlError> {
        const KEY: &str = "control.token-file";
        let path = &self.config.token_file;
        let content = |reason: &str| ControlError::Content {
            path: path.clone(),
            key: KEY,
            reason: reason.to_owned(),
        };
        let file = |source| ControlError::File {
            path: path.clone(),
            key: KEY,
            source,
        };
        if fs::metadata(path).map_err(file)?.len() > MAX_TOKEN {
            return Err(content("is too large for a join token"));
        }
        let token = fs::read_to_string(path).map_err(file)?;
        let token = token.trim();
        if token.is_empty() {
            return Err(content(
                "is empty; create a token with 'mesh-control token create --node NAME'",
            ));
        }
        let mut value = MetadataValue::try_from(format!("Bearer {token}"))
            .map_err(|_| content("is no join token: it has characters that no token has"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn roots(&self) -> Result<Vec<TrustAnchor<'static>>, ControlError> {
        const KEY: &str = "control.root-certificates";
        let path = &self.config.root_certificates;
        let content = |reason: String| ControlError::Content {
            path: path.clone(),
            key: KEY,
            reason,
        };
        let pem = fs::read(path).map_err(|source| ControlError::File {
            path: path.clone(),
            key: KEY,
            source,
        })?;
        let mut roots = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| content(format!("is no PEM: {error}")))?;
        if roots.is_empty() {
            return Err(content("holds no PEM certificate".to_owned()));
        }
        if let Some(bundle) = self.store.load().trust() {
            roots.extend(bundle.roots.iter().cloned().map(CertificateDer::from));
        }
        roots
            .iter()
            .map(|root| webpki::anchor_from_trusted_cert(root).map(|anchor| anchor.to_owned()))
            .collect::<Result<_, _>>()
            .map_err(|error| content(format!("holds a certificate that is no root: {error}")))
    }
}

// === impl Session ===

impl Session {
    /// A request that carries the node's token.
    pub fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request
            .metadata_mut()
            .insert("authorization", self.authorization.clone());
        request
    }
}

/// All causes of an error, for the outermost alone ("transport error") says nothing.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        cause = error.source();
    }
    if text.is_empty() { error.to_string() } else { text }
}

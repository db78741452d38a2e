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
/// The keys that name files.
const TOKEN_FILE: &str = "control.token-file";
const ROOT_CERTIFICATES: &str = "control.root-certificates";
/// Longest token file that is read, in bytes.
const MAX_TOKEN: u64 = 4096;

/// Why the control plane can't be reached.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A file that the configuration names can't be read.
    #[error("cannot read {}: {source}; the key {key} in the configuration names it, {}", path.display(), origin(key))]
    File {
        /// The file.
        path: PathBuf,
        /// The configuration's key.
        key: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file that the configuration names has no usable content.
    #[error("{}: {reason}; the key {key} in the configuration names it, {}", path.display(), origin(key))]
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
    #[error("cannot connect to the control plane at {address}: {}", explained(source))]
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
        let path = &self.config.token_file;
        let content = |reason: &str| ControlError::Content {
            path: path.clone(),
            key: TOKEN_FILE,
            reason: reason.to_owned(),
        };
        let file = |source| ControlError::File {
            path: path.clone(),
            key: TOKEN_FILE,
            source,
        };
        if fs::metadata(path).map_err(file)?.len() > MAX_TOKEN {
            return Err(content("is too large for a join token"));
        }
        let token = fs::read_to_string(path).map_err(file)?;
        let token = token.trim();
        if token.is_empty() {
            return Err(content("is empty"));
        }
        let mut value = MetadataValue::try_from(format!("Bearer {token}"))
            .map_err(|_| content("is no join token: it has characters that no token has"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn roots(&self) -> Result<Vec<TrustAnchor<'static>>, ControlError> {
        let path = &self.config.root_certificates;
        let content = |reason: String| ControlError::Content {
            path: path.clone(),
            key: ROOT_CERTIFICATES,
            reason,
        };
        let pem = fs::read(path).map_err(|source| ControlError::File {
            path: path.clone(),
            key: ROOT_CERTIFICATES,
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

/// Where the content of a key's file comes from.
fn origin(key: &str) -> &'static str {
    if key == TOKEN_FILE {
        "and 'mesh-control token create --node NAME' makes the token"
    } else {
        "and 'mesh-control ca root' prints the roots"
    }
}

/// The causes of a failure to connect, and which keys to look at.
fn explained(error: &tonic::transport::Error) -> String {
    let causes = causes(error);
    let advice = if causes.contains("certificate") {
        "control.root-certificates must hold what 'mesh-control ca root' prints, and control.server-name its \
         server.server-name"
    } else {
        "does mesh-control run there, and is control.address its server.address?"
    };
    format!("{causes}; {advice}")
}

/// All causes of an error, each said once, for the outermost alone ("transport error") says nothing.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&message);
        }
        cause = error.source();
    }
    if text.is_empty() { error.to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_each_cause_once() {
        let inner = io::Error::other("refused");
        let middle = io::Error::other(inner);
        let outer = io::Error::other(middle);
        assert_eq!(causes(&outer), "refused");
    }

    #[test]
    fn says_where_a_missing_file_comes_from() {
        let error = |key| {
            let source = io::ErrorKind::NotFound.into();
            let path = PathBuf::from("/etc/nodemesh/file");
            ControlError::File { path, key, source }.to_string()
        };
        assert!(error(TOKEN_FILE).contains("mesh-control token create --node NAME"));
        assert!(error(ROOT_CERTIFICATES).contains("mesh-control ca root"));
    }
}

//! The certificate authority: who may have which certificate, and what signs it.
//!
//! Stands alone: it is told who asks ([`crate::attest`]) and whose identities run where ([`Roster`]), and tells
//! what the trust bundle is. Keys are made here or read from files with owner-only rights; the only keys that leave
//! are public ones.

mod authority;
mod config;
mod directory;
mod request;
mod rotation;
mod server;
mod serving;
mod signer;
mod x509;

use std::path::PathBuf;

use mesh_model::{Identity, NodeName};

pub use authority::Authority;
pub use config::{CaConfig, DEFAULT_TRUST_DOMAIN};
pub use directory::Directory;
pub use request::RequestError;
pub use rotation::{Rotation, Step};
pub use server::SigningService;
pub use serving::ServingCertificate;
pub use signer::{Signer, SigningError};

/// Knows whose workloads run where.
pub trait Roster: Send + Sync + 'static {
    /// Whether an enrolled workload of this identity runs on the node.
    fn runs(&self, node: &NodeName, identity: &Identity) -> bool;
}

/// Why the authority can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file can't be read or written.
    #[error("{}: {source}; check that the path exists and belongs to mesh-control", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A private key is open to others.
    #[error("{} has mode {mode:04o}: others than its owner have rights to it; run chmod {wanted} on it", path.display())]
    Permissions {
        /// The file or directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// What to give to chmod.
        wanted: &'static str,
    },
    /// A file holds something else than it should.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// What was asked for is not possible as things stand.
    #[error("{0}")]
    Refused(String),
    /// A certificate could not be made.
    #[error(
        "the cryptographic library refused to make a certificate: {0}; check the system's clock and free memory"
    )]
    Crypto(#[from] rcgen::Error),
    /// The signer's certificates do not verify against the roots.
    #[error(
        "certificates of this signer do not verify: {0}; check ca.certificate, ca.root and the system's clock"
    )]
    Chain(String),
}

// === impl CaError ===

impl CaError {
    fn file(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }

    fn content(path: &std::path::Path, reason: impl Into<String>) -> Self {
        Self::Content {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }
}

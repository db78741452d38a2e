//! Join tokens: what a node shows to be believed that it is that node.
//!
//! A token is `nodemesh.<node>.<secret>`, the secret 256 random bits. It is shown once, when it is made; what is kept
//! is its SHA-256, one small file a token, so that the directory gives no token away and two command lines never
//! write the same file. A node may have several, for a change of token without an interruption.

mod store;

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mesh_model::{NameError, NodeName};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

pub use store::{Entry, Roll, TokenDirectory};

/// What every token begins with, so that secret scanners find a leaked one.
const PREFIX: &str = "nodemesh.";
/// Bytes of the secret: as much as the digest keeps apart.
const SECRET_BYTES: usize = 32;

/// The `[tokens]` table of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TokensConfig {
    /// Where the digests are kept. Made when the first token is, with rights for its owner only.
    pub directory: PathBuf,
}

/// Why a token could not be made, listed or revoked.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// A file can't be read or written.
    #[error("{}: {source}; check that the path exists and belongs to mesh-control", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not what this program writes there.
    #[error("{} is no join token's record: {reason}; remove the file and make a new token", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Others than the owner have rights to the directory.
    #[error("{} has mode {mode:04o}: others than its owner could add tokens; run chmod 0700 on it", path.display())]
    Permissions {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The node's name is none.
    #[error("the node's name: {0}")]
    Node(#[from] NameError),
    /// There is nothing to revoke.
    #[error("node {0} has no join token; see 'token list'")]
    NoToken(NodeName),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes; try again")]
    Random,
}

/// A new token, in clear. Shown once and never kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    node: NodeName,
    text: String,
}

// === impl Token ===

impl Token {
    /// Makes a token for a node.
    pub fn generate(node: &NodeName) -> Result<Self, TokenError> {
        let mut secret = [0; SECRET_BYTES];
        rustls::crypto::aws_lc_rs::default_provider()
            .secure_random
            .fill(&mut secret)
            .map_err(|_| TokenError::Random)?;
        Ok(Self {
            node: node.clone(),
            text: format!("{PREFIX}{node}.{}", URL_SAFE_NO_PAD.encode(secret)),
        })
    }

    /// Reads a token that somebody shows. `None` when it has not the form of one.
    pub fn parse(text: &str) -> Option<Self> {
        // A node's name may have dots, the secret has none.
        let (node, secret) = text.strip_prefix(PREFIX)?.rsplit_once('.')?;
        let secret = URL_SAFE_NO_PAD.decode(secret).ok()?;
        if secret.len() != SECRET_BYTES {
            return None;
        }
        Some(Self {
            node: NodeName::new(node).ok()?,
            text: text.to_owned(),
        })
    }

    /// The token itself, for the node.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whose it is.
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// What is kept of it. No salt: 256 random bits can't be guessed from it.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.text).into()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({}, secret)", self.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_it_makes_and_nothing_else() {
        let node = NodeName::new("node-a.example").unwrap();
        let token = Token::generate(&node).unwrap();
        assert_eq!(Token::parse(token.as_str()), Some(token.clone()));
        assert_eq!(token.node(), &node);
        assert_ne!(Token::generate(&node).unwrap(), token);
        let shorter = &token.as_str()[..token.as_str().len() - 4];
        for text in [
            "",
            "nodemesh.",
            "nodemesh.a",
            "nodemesh.a.",
            "nodemesh.a.c2hvcnQ",
            shorter,
            "other.a.b",
        ] {
            assert_eq!(Token::parse(text), None, "{text}");
        }
    }

    #[test]
    fn does_not_show_its_secret() {
        let token = Token::generate(&NodeName::new("a").unwrap()).unwrap();
        assert_eq!(format!("{token:?}"), "Token(a, secret)");
    }
}

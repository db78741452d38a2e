//! Trust bundles: the roots that identities of a trust domain are verified against.

use crate::TrustDomain;

/// The roots of one trust domain. During a rollover there are two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustBundle {
    /// Whose roots these are.
    pub trust_domain: TrustDomain,
    /// The root certificates, each in DER (RFC 5280).
    pub roots: Vec<Vec<u8>>,
    /// SHA-256 of the DER of the certificate that signs at present. A node whose certificates were signed by
    /// another renews them ahead of time.
    pub signer: [u8; 32],
}

//! Workload identities: SPIFFE IDs of the form that Kubernetes meshes use.
//!
//! An identity here is always `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`
//! (SPIFFE ID standard §2; the path is Istio's). Anything else does not parse.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::name::{NameError, check_label, check_subdomain};

/// Longest SPIFFE ID, in bytes (SPIFFE ID standard §2.3).
const MAX_SPIFFE_ID: usize = 2048;
/// Longest trust domain, in bytes (SPIFFE ID standard §2.1).
const MAX_TRUST_DOMAIN: usize = 255;

/// Why a text is no identity of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
    #[error("'{0}' is not of the form spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT")]
    Form(String),
    /// The trust domain has characters that the SPIFFE ID standard refuses, or is too long.
    #[error("'{0}' is no trust domain: use lower-case letters, digits, '.', '-' and '_', 255 bytes at most")]
    TrustDomain(String),
    /// The namespace or the service account is no valid name.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// A SPIFFE trust domain, such as `cluster.local`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

/// A workload's identity: who it is to its peers.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    trust_domain: TrustDomain,
    namespace: Arc<str>,
    service_account: Arc<str>,
}

// === impl TrustDomain ===

impl TrustDomain {
    /// Checks and wraps a trust domain's name.
    pub fn new(name: &str) -> Result<Self, IdentityError> {
        let is_allowed =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        if name.is_empty() || name.len() > MAX_TRUST_DOMAIN || !name.bytes().all(is_allowed) {
            return Err(IdentityError::TrustDomain(name.to_owned()));
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for TrustDomain {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TrustDomain {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

// === impl Identity ===

impl Identity {
    /// Joins the parts; the namespace is an RFC 1123 label, the service account a subdomain.
    pub fn new(
        trust_domain: TrustDomain,
        namespace: &str,
        service_account: &str,
    ) -> Result<Self, IdentityError> {
        check_label(namespace)?;
        check_subdomain(service_account)?;
        Ok(Self {
            trust_domain,
            namespace: namespace.into(),
            service_account: service_account.into(),
        })
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The service account.
    pub fn service_account(&self) -> &str {
        &self.service_account
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let form = || IdentityError::Form(text.to_owned());
        if text.len() > MAX_SPIFFE_ID {
            return Err(form());
        }
        let rest = text.strip_prefix("spiffe://").ok_or_else(form)?;
        let mut parts = rest.split('/');
        match (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) {
            (Some(domain), Some("ns"), Some(namespace), Some("sa"), Some(account), None) => {
                Self::new(TrustDomain::new(domain)?, namespace, account)
            }
            _ => Err(form()),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "spiffe://{}/ns/{}/sa/{}",
            self.trust_domain, self.namespace, self.service_account
        )
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_everything_but_the_one_form() {
        for text in [
            "",
            "spiffe://",
            "spiffe://td",
            "spiffe://td/ns/shop",
            "spiffe://td/ns/shop/sa/",
            "spiffe://td/ns//sa/web",
            "spiffe:///ns/shop/sa/web",
            "spiffe://td/ns/shop/sa/web/",
            "spiffe://td/ns/shop/sa/web/x",
            "spiffe://td/sa/web/ns/shop",
            "spiffe://TD/ns/shop/sa/web",
            "spiffe://td:80/ns/shop/sa/web",
            "https://td/ns/shop/sa/web",
            "SPIFFE://td/ns/shop/sa/web",
            "spiffe://td/ns/shop/sa/web?x=1",
        ] {
            assert!(text.parse::<Identity>().is_err(), "{text:?} must not parse");
        }
    }

    proptest! {
        #[test]
        fn parses_its_own_display(domain in "[a-z0-9._-]{1,40}", namespace in "[a-z]([a-z0-9-]{0,20}[a-z0-9])?", account in "[a-z]([a-z0-9-]{0,20}[a-z0-9])?(\\.[a-z0-9]{1,9})?") {
            let identity = Identity::new(TrustDomain::new(&domain).unwrap(), &namespace, &account).unwrap();
            prop_assert_eq!(identity.to_string().parse::<Identity>().unwrap(), identity);
        }

        #[test]
        fn never_panics(text in "\\PC*") {
            let parsed = text.parse::<Identity>();
            prop_assert!(parsed.is_err() || text.starts_with("spiffe://"));
        }
    }
}

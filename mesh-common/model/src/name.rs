//! Names: of nodes, and of resources within a namespace.
//!
//! A name that exists is valid: the constructors refuse anything Kubernetes would
//! (RFC 1123 labels for namespaces, RFC 1123 subdomains for the rest).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest label of a DNS name, in bytes (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;
/// Longest subdomain that Kubernetes takes as an object's name, in bytes.
const MAX_SUBDOMAIN: usize = 253;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a label: lower-case letters, digits and `-`, 1 to 63 bytes, first and last alphanumeric.
    #[error(
        "'{0}' is no valid name here: use 1 to 63 lower-case letters, digits or '-', the first and last of them a letter or digit"
    )]
    Label(String),
    /// Not a subdomain: labels joined by dots, 253 bytes at most.
    #[error(
        "'{0}' is no valid name: use lower-case letters, digits, '-' and '.', 253 bytes at most, each part beginning and ending with a letter or digit"
    )]
    Subdomain(String),
    /// Not of the form `namespace/name`.
    #[error("'{0}' is not of the form NAMESPACE/NAME")]
    Unqualified(String),
}

/// The name of an object in its namespace, written `namespace/name`.
///
/// Cloning is cheap: both parts are shared.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceName {
    namespace: Arc<str>,
    name: Arc<str>,
}

/// The name of a node.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeName(Arc<str>);

// === impl ResourceName ===

impl ResourceName {
    /// Checks both parts and joins them.
    pub fn new(namespace: &str, name: &str) -> Result<Self, NameError> {
        check_label(namespace)?;
        check_subdomain(name)?;
        Ok(Self {
            namespace: namespace.into(),
            name: name.into(),
        })
    }

    /// The namespace, an RFC 1123 label.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name within the namespace, an RFC 1123 subdomain.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for ResourceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (namespace, name) = text
            .split_once('/')
            .ok_or_else(|| NameError::Unqualified(text.to_owned()))?;
        Self::new(namespace, name)
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl NodeName ===

impl NodeName {
    /// Checks the name, an RFC 1123 subdomain.
    pub fn new(name: &str) -> Result<Self, NameError> {
        check_subdomain(name)?;
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for NodeName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for NodeName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

pub(crate) fn check_label(text: &str) -> Result<(), NameError> {
    if is_label(text) {
        Ok(())
    } else {
        Err(NameError::Label(text.to_owned()))
    }
}

pub(crate) fn check_subdomain(text: &str) -> Result<(), NameError> {
    if text.len() <= MAX_SUBDOMAIN && text.split('.').all(is_label) {
        Ok(())
    } else {
        Err(NameError::Subdomain(text.to_owned()))
    }
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.len() <= MAX_LABEL
        && bytes.first().is_some_and(is_alphanumeric)
        && bytes.last().is_some_and(is_alphanumeric)
        && bytes.iter().all(|b| is_alphanumeric(b) || *b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_kubernetes_accepts() {
        for (namespace, name) in [("shop", "web-1"), ("a", "0"), ("x-y", "web.v1.example")] {
            assert_eq!(
                ResourceName::new(namespace, name).unwrap().to_string(),
                format!("{namespace}/{name}")
            );
        }
    }

    #[test]
    fn refuses_what_kubernetes_refuses() {
        let long = "a".repeat(64);
        for namespace in ["", "-a", "a-", "A", "a.b", "a/b", "a_b", long.as_str()] {
            assert!(
                ResourceName::new(namespace, "web").is_err(),
                "namespace {namespace:?}"
            );
        }
        for name in ["", ".", "a..b", "a.", "-a", "Web", "a b", "ü"] {
            assert!(ResourceName::new("shop", name).is_err(), "name {name:?}");
        }
    }

    #[test]
    fn parses_its_own_display() {
        let name: ResourceName = "shop/web-1".parse().unwrap();
        assert_eq!((name.namespace(), name.name()), ("shop", "web-1"));
        assert_eq!(
            "web-1".parse::<ResourceName>(),
            Err(NameError::Unqualified("web-1".to_owned()))
        );
    }
}

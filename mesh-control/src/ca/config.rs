//! The `[ca]` table of the configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh_model::TrustDomain;
use serde::Deserialize;

/// The trust domain where none is configured: Kubernetes' and Istio's.
pub const DEFAULT_TRUST_DOMAIN: &str = "cluster.local";
/// Istio's and SPIRE's default too: short enough to need no revocation, long enough to outlast an outage.
const DEFAULT_LIFETIME: Duration = Duration::from_hours(24);
/// Below this, nodes would do little else than renew.
const MIN_LIFETIME: Duration = Duration::from_mins(1);
/// Above this, a stolen key is of use for too long.
const MAX_LIFETIME: Duration = Duration::from_hours(24 * 90);

/// The `[ca]` table of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CaConfig {
    /// Where the own root is kept. Made at the first start, with rights for its owner only.
    pub directory: Option<PathBuf>,
    /// An intermediate's certificate in PEM, and those between it and the root behind it.
    pub certificate: Option<PathBuf>,
    /// The intermediate's key in PEM (PKCS #8).
    pub key: Option<PathBuf>,
    /// The roots in PEM; during a rollover, the old and the new one.
    pub root: Option<PathBuf>,
    /// The trust domain of all identities.
    #[serde(default = "default_trust_domain")]
    pub trust_domain: String,
    /// How long a workload's certificate is valid.
    #[serde(default = "default_lifetime", with = "mesh_runtime::config::duration")]
    pub certificate_lifetime: Duration,
}

/// Where the signing key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeySource<'a> {
    /// An own root in this directory.
    Directory(&'a Path),
    /// An intermediate from files.
    Files {
        certificate: &'a Path,
        key: &'a Path,
        root: &'a Path,
    },
}

fn default_trust_domain() -> String {
    DEFAULT_TRUST_DOMAIN.to_owned()
}

fn default_lifetime() -> Duration {
    DEFAULT_LIFETIME
}

// === impl CaConfig ===

impl CaConfig {
    /// What is wrong with the table, naming the key.
    pub fn check(&self) -> Result<(), String> {
        self.key_source()?;
        self.trust_domain()?;
        if !(MIN_LIFETIME..=MAX_LIFETIME).contains(&self.certificate_lifetime) {
            let given = self.certificate_lifetime.as_secs();
            return Err(format!(
                "ca.certificate-lifetime: {given} s is not between 1 minute and 90 days"
            ));
        }
        Ok(())
    }

    /// The trust domain, checked.
    pub fn trust_domain(&self) -> Result<TrustDomain, String> {
        TrustDomain::new(&self.trust_domain).map_err(|error| format!("ca.trust-domain: {error}"))
    }

    pub(super) fn key_source(&self) -> Result<KeySource<'_>, String> {
        match (&self.directory, &self.certificate, &self.key, &self.root) {
            (Some(directory), None, None, None) => Ok(KeySource::Directory(directory)),
            (None, Some(certificate), Some(key), Some(root)) => Ok(KeySource::Files { certificate, key, root }),
            (Some(_), ..) => {
                Err("ca.directory: an own root and an intermediate exclude each other; leave either ca.directory \
                     or ca.certificate, ca.key and ca.root"
                    .to_owned())
            }
            (None, ..) => {
                Err("ca: set ca.directory for an own root, or all of ca.certificate, ca.key and ca.root for an \
                     intermediate"
                    .to_owned())
            }
        }
    }
}

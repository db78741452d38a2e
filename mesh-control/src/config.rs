//! The configuration file: one TOML file, strict. Each table's struct stands in the module that it is for.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;

use anyhow::Context as _;
use mesh_runtime::logging::LogConfig;
use serde::Deserialize;

use crate::ca::CaConfig;
use crate::listener::ServerConfig;
use crate::source::SourceConfig;
use crate::tokens::TokensConfig;

/// The port of metrics, readiness and problems.
const ADMIN_PORT: u16 = 15012;

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Where the resources come from.
    pub source: SourceConfig,
    /// The listener for nodes.
    #[serde(default)]
    pub server: ServerConfig,
    /// The certificate authority.
    pub ca: CaConfig,
    /// Join tokens.
    pub tokens: TokensConfig,
    /// Metrics, readiness and problems.
    #[serde(default)]
    pub admin: AdminConfig,
    /// The log.
    #[serde(default)]
    pub log: LogConfig,
}

/// The `[admin]` table. Its listener is mesh-runtime's, which has no configuration of its own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct AdminConfig {
    /// Where `/metrics`, `/healthz/ready` and `/problems` are answered. No secret is among the answers.
    pub address: SocketAddr,
}

// === impl Config ===

impl Config {
    /// Reads and checks a file. An error names the file and the key.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let config: Self = mesh_runtime::config::load(path)?;
        config
            .check()
            .map_err(anyhow::Error::msg)
            .with_context(|| path.display().to_string())?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        self.server.check()?;
        self.ca.check()?;
        self.log.check().map_err(|error| format!("log.filter: {error}"))
    }
}

// === impl AdminConfig ===

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            address: (Ipv6Addr::UNSPECIFIED, ADMIN_PORT).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.toml");
        std::fs::write(&path, text).unwrap();
        let prefix = format!("{}", path.display());
        Config::load(&path).map_err(|error| format!("{error:#}").replace(&prefix, "control.toml"))
    }

    const MINIMAL: &str = "[source]\nfolder = '/m'\n[ca]\ndirectory = '/ca'\n[tokens]\ndirectory = '/t'\n";

    #[test]
    fn fills_in_what_is_left_out() {
        let config = load(MINIMAL).unwrap();
        assert_eq!(config.server.address.port(), 15010);
        assert_eq!(config.server.server_name, "mesh-control");
        assert_eq!(config.admin.address.port(), 15012);
        assert_eq!(config.ca.trust_domain, "cluster.local");
        assert_eq!(config.ca.certificate_lifetime.as_secs(), 86400);
    }

    #[test]
    fn names_the_file_and_the_key() {
        for (change, expected) in [
            (
                ("[ca]", "[ca]\ncertificate-lifetime = '5s'"),
                "ca.certificate-lifetime: 5 s is not between",
            ),
            (
                ("[ca]", "[ca]\ntrust-domain = 'A'"),
                "ca.trust-domain: 'A' is no trust domain",
            ),
            (
                ("[ca]", "[ca]\nroot = '/r'"),
                "ca.directory: an own root and an intermediate exclude each other",
            ),
            (("directory = '/ca'", ""), "ca: set ca.directory"),
            (
                ("[ca]", "[server]\nserver-name = 'a b'\n[ca]"),
                "server.server-name: 'a b' is no DNS name",
            ),
            (("[ca]", "[ca]\ndirectori = '/x'"), "unknown field `directori`"),
            (("[ca]", "[log]\nfilter = 'x=y=z'\n[ca]"), "log.filter"),
        ] {
            let error = load(&MINIMAL.replace(change.0, change.1)).unwrap_err();
            assert!(
                error.starts_with("control.toml") && error.contains(expected),
                "{error}"
            );
        }
    }

    #[test]
    fn the_example_of_the_documentation_is_good() {
        let guide = include_str!("../../docs/control-plane.md");
        let example = guide
            .split("```toml\n")
            .nth(1)
            .and_then(|rest| rest.split("```").next())
            .unwrap();
        assert_eq!(
            load(example).unwrap().source.folder,
            Path::new("/etc/nodemesh/manifests")
        );
    }
}

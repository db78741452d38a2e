//! What this binary was built from.
//!
//! The git revision is there only when the build sets `NODEMESH_REVISION`: a build script that asked git would
//! rebuild every crate above this one at each commit.

/// Version, revision and compiler of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BuildInfo {
    /// The workspace's version (all its crates share one).
    pub version: &'static str,
    /// The git revision, or `unknown`.
    pub revision: &'static str,
    /// What `rustc --version` printed.
    pub rustc: &'static str,
}

/// The build of the running binary.
pub const BUILD_INFO: BuildInfo = BuildInfo {
    version: env!("CARGO_PKG_VERSION"),
    revision: match option_env!("NODEMESH_REVISION") {
        Some(revision) => revision,
        None => "unknown",
    },
    rustc: env!("BUILD_RUSTC"),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_compiler() {
        assert!(BUILD_INFO.rustc.starts_with("rustc "), "{BUILD_INFO:?}");
    }
}

//! Finding programs: our own in the build's output, others on the PATH.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Where our release binaries are: `MESH_BIN_DIR`, else the workspace's target/release.
pub fn folder() -> PathBuf {
    if let Some(folder) = env::var_os("MESH_BIN_DIR") {
        return PathBuf::from(folder);
    }
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
        PathBuf::from,
    );
    target.join("release")
}

/// The path of one of our binaries, such as `mesh-node`.
pub fn ours(name: &str) -> Result<PathBuf> {
    let path = folder().join(name);
    if !path.is_file() {
        bail!(
            "{} is missing: build it with `cargo xtask build`, or name the folder of the binaries in MESH_BIN_DIR",
            path.display()
        );
    }
    Ok(path)
}

/// The path of another's program. Looks in the sbin folders too, which are not on every user's PATH, and where
/// Debian keeps PostgreSQL's server programs.
pub fn theirs(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from));
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    match folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
    {
        Some(found) => Ok(found),
        None => bail!("{name} is not installed: run `cargo xtask setup --for test`"),
    }
}

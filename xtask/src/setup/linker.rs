//! bpf-linker, built once into `.cache/bpf-linker`: cargo's ordinary install, at one version.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::toolchain;
use crate::{command, workspace};

/// The version that the kernel programs are tested with.
const VERSION: &str = "0.13.0";
/// It takes about 45 s on two cores.
const DEADLINE: Duration = Duration::from_mins(20);

/// Builds bpf-linker unless there is one with an LLVM of at least `llvm`.
pub(super) fn ensure(llvm: u32) -> Result<()> {
    if usable(llvm) {
        return Ok(());
    }
    let llvm = toolchain::llvm(llvm).context("an LLVM that was there a moment ago is gone; try again")?;
    let feature = format!("llvm-{}", llvm.version);
    let mut cargo = command::cargo([
        "install",
        "bpf-linker",
        "--locked",
        "--force",
        "--version",
        VERSION,
    ]);
    cargo
        .args(["--no-default-features", "--features", &feature, "--root"])
        .arg(folder());
    // Its own target folder: ours may be locked by a build that waits for it.
    cargo
        .arg("--target-dir")
        .arg(folder().join("target"))
        .env("LLVM_PREFIX", &llvm.prefix);
    command::step(
        &format!("build bpf-linker {VERSION} with LLVM {}", llvm.version),
        || {
            command::run(&mut cargo, DEADLINE)?;
            // Hundreds of megabytes that nobody needs again.
            fs::remove_dir_all(folder().join("target")).context("cannot remove bpf-linker's build folder")
        },
    )
}

/// Whether mesh-node's build script finds one: in the cache with this LLVM or later, else on PATH.
pub(super) fn usable(llvm: u32) -> bool {
    if folder().join("bin/bpf-linker").is_file() {
        let record = fs::read_to_string(folder().join(".crates2.json")).unwrap_or_default();
        return installed_llvm(&record).is_some_and(|installed| installed >= llvm);
    }
    // Somebody's own: mesh-node's build says so if it does not fit.
    command::find("bpf-linker").is_some()
}

fn folder() -> PathBuf {
    workspace::cache().join("bpf-linker")
}

/// The LLVM that the installed version was built with, from cargo's record of installs; none for another version.
fn installed_llvm(record: &str) -> Option<u32> {
    let record: serde_json::Value = serde_json::from_str(record).ok()?;
    let wanted = format!("bpf-linker {VERSION} ");
    let (_, install) = record
        .get("installs")?
        .as_object()?
        .iter()
        .find(|(name, _)| name.starts_with(&wanted))?;
    let features = install.get("features")?.as_array()?;
    features
        .iter()
        .find_map(|feature| feature.as_str()?.strip_prefix("llvm-")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_llvm_of_the_installed_version() {
        let key = "bpf-linker 0.13.0 (registry+https://github.com/rust-lang/crates.io-index)";
        let record = serde_json::json!({ "installs": { key: { "features": ["llvm-22"] } } }).to_string();
        assert_eq!(installed_llvm(&record), Some(22));
        assert_eq!(installed_llvm(&record.replace("0.13.0", "0.12.0")), None);
        assert_eq!(installed_llvm(""), None);
    }
}

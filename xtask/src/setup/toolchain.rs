//! The compiler of the kernel programs: one whose library sources are installed, and an LLVM that fits it.
//!
//! Looks for what mesh-node's build script takes, in the same order: rustup's nightly, then the distribution's.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::need::Need;
use crate::command;

/// The LLVM versions that bpf-linker 0.13 can be built with.
const SUPPORTED_LLVM: std::ops::RangeInclusive<u32> = 21..=23;
/// What is asked for while no compiler is known: the LLVM of Debian's rustc-web.
const DEFAULT_LLVM: u32 = 22;

/// A folder with a usable LLVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Llvm {
    pub(super) version: u32,
    pub(super) prefix: PathBuf,
}

/// What compiling the kernel programs needs and is not there.
pub(super) fn missing() -> Vec<Need> {
    if compiler().is_some() {
        return missing_llvm(llvm_wanted());
    }
    let sources = &["rustc-web", "rust-web-src", "cargo-web"];
    let compiler = Need::new(
        "a Rust compiler with its sources",
        "compiles the kernel programs",
        &[sources],
    )
    .or_else(
        "rustup toolchain install nightly --profile minimal --component rust-src   # instead of rustc-web",
    );
    let mut needs = vec![compiler];
    needs.extend(missing_llvm(DEFAULT_LLVM));
    needs
}

/// The version of LLVM inside the compiler: bpf-linker must not have an older one.
pub(super) fn llvm_wanted() -> u32 {
    let version = compiler().and_then(|rustc| command::output(plain(&rustc).arg("-vV")));
    version.as_deref().and_then(parse_llvm).unwrap_or(DEFAULT_LLVM)
}

/// The oldest LLVM here that is at least `wanted`.
pub(super) fn llvm(wanted: u32) -> Option<Llvm> {
    SUPPORTED_LLVM
        .filter(|version| *version >= wanted)
        .map(|version| Llvm {
            version,
            prefix: PathBuf::from(format!("/usr/lib/llvm-{version}")),
        })
        .find(|llvm| llvm.prefix.join("bin/llvm-config").exists())
}

fn missing_llvm(wanted: u32) -> Vec<Need> {
    if super::linker::usable(wanted) || llvm(wanted).is_some() {
        return Vec::new();
    }
    let (dev, polly) = (format!("llvm-{wanted}-dev"), format!("libpolly-{wanted}-dev"));
    let what = format!("LLVM {wanted} with headers");
    let advice = format!("(no {dev}? https://apt.llvm.org has it)");
    vec![Need::new(what, "bpf-linker is built with it", &[&[&dev, &polly]]).or_else(advice)]
}

/// The compiler that mesh-node's build script will take.
fn compiler() -> Option<PathBuf> {
    let mut which = Command::new("rustup");
    let nightly =
        command::output(which.args(["which", "--toolchain", "nightly", "rustc"])).map(PathBuf::from);
    nightly
        .into_iter()
        .chain([PathBuf::from("/usr/bin/rustc")])
        .find(|rustc| has_sources(rustc))
}

fn has_sources(rustc: &Path) -> bool {
    command::output(plain(rustc).args(["--print", "sysroot"])).is_some_and(|sysroot| {
        Path::new(&sysroot)
            .join("lib/rustlib/src/rust/library/core")
            .is_dir()
    })
}

/// A compiler free of what rustup and the outer cargo say of another one.
fn plain(rustc: &Path) -> Command {
    let mut command = Command::new(rustc);
    command
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("LD_LIBRARY_PATH");
    command
}

fn parse_llvm(version: &str) -> Option<u32> {
    let line = version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    line.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_llvm_inside_the_compiler() {
        assert_eq!(
            parse_llvm("rustc 1.96.0\nrelease: 1.96.0\nLLVM version: 22.1.8\n"),
            Some(22)
        );
        assert_eq!(parse_llvm("rustc 1.96.0\n"), None);
    }
}

//! `cargo xtask build`: the binaries, with the kernel programs inside mesh-node.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::setup::{self, Purpose};
use crate::{command, workspace};

/// A cold release build takes some minutes on two cores.
const DEADLINE: Duration = Duration::from_mins(40);
/// Everything that is run by the demo and the end-to-end tests.
const PACKAGES: [&str; 4] = ["mesh-node", "mesh-control", "meshctl", "mesh-echo"];
const EXAMPLES: &str = "Examples:
  cargo xtask build            # target/release
  cargo xtask build --debug    # target/debug, faster to build";

/// What to build.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Build without optimisation, into target/debug
    #[arg(long)]
    debug: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure(Purpose::Build)?;
    build(if arguments.debug { "dev" } else { "release" }, |_| ())
}

/// Builds the release binaries, when anything changed.
pub(crate) fn release() -> Result<()> {
    build("release", |_| ())
}

/// Builds the release binaries and another package: together, so that they share what they are built of.
pub(crate) fn release_with(package: &str) -> Result<()> {
    build("release", |cargo| {
        cargo.args(["--package", package]);
    })
}

/// Builds the binaries as a profiler wants them, and says where they are: as for a release, with frame pointers.
pub(crate) fn profiling() -> Result<PathBuf> {
    build("profiling", |cargo| {
        cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Cforce-frame-pointers=yes");
    })?;
    Ok(workspace::target()?.join("profiling"))
}

/// Builds the bench's own programs.
pub(crate) fn bench() -> Result<()> {
    // Named beside the others, though only its programs are built: cargo then uses the crates that they have in common as
    // they were built for them, and not once more with fewer features.
    let mut cargo = command::cargo(["build", "--locked", "--release", "--package", "mesh-bench"]);
    for package in PACKAGES {
        cargo.args(["--package", package]);
    }
    cargo.args(["--bin", "mesh-bench", "--bin", "mesh-bench-tool"]);
    command::step("build the bench", || command::run(&mut cargo, DEADLINE))
}

fn build(profile: &str, change: impl FnOnce(&mut Command)) -> Result<()> {
    let mut cargo = command::cargo(["build", "--locked", "--bins", "--profile", profile]);
    for package in PACKAGES {
        cargo.args(["--package", package]);
    }
    change(&mut cargo);
    let name = if profile == "dev" { "debug" } else { profile };
    command::step(&format!("build the binaries ({name})"), || {
        command::run(&mut cargo, DEADLINE)
    })
}

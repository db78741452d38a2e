//! `cargo xtask build`: the binaries, with the kernel programs inside mesh-node.

use std::time::Duration;

use anyhow::Result;

use crate::command;
use crate::setup::{self, Purpose};

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
    build(!arguments.debug)
}

/// Builds the release binaries, when anything changed.
pub(crate) fn release() -> Result<()> {
    build(true)
}

fn build(release: bool) -> Result<()> {
    let mut cargo = command::cargo(["build", "--locked", "--bins"]);
    for package in PACKAGES {
        cargo.args(["--package", package]);
    }
    if release {
        cargo.arg("--release");
    }
    let what = if release {
        "build the binaries (release)"
    } else {
        "build the binaries (debug)"
    };
    command::step(what, || command::run(&mut cargo, DEADLINE))
}

//! `cargo xtask gen`: runs mesh-api-gen, which is a crate of its own because it is slow to compile.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::command;

/// Compiling the generator is most of it.
const DEADLINE: Duration = Duration::from_mins(10);
const EXAMPLES: &str = "Examples:
  cargo xtask gen            # after a change below mesh-common/api/proto; commit what it writes
  cargo xtask gen --check    # fails when the code that is checked in differs";

/// Whether to write.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Write nothing; fail when the code that is checked in differs
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!(
        has_protoc(),
        "protoc is not installed: run `cargo xtask setup --for test`, or apt-get install protobuf-compiler libprotobuf-dev"
    );
    if arguments.check { check() } else { generator(&[]) }
}

/// Fails when the code that is checked in differs from what the protos give.
pub(crate) fn check() -> Result<()> {
    generator(&["--", "--check"])
}

pub(crate) fn has_protoc() -> bool {
    command::find("protoc").is_some()
}

fn generator(arguments: &[&str]) -> Result<()> {
    let mut cargo = command::cargo(["run", "--quiet", "--locked", "--package", "mesh-api-gen"]);
    command::run(cargo.args(arguments), DEADLINE)
}

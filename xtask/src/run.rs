//! `cargo xtask run`: a mesh of two nodes on this machine, to watch and to try by hand.
//!
//! Owns what is shown. What runs where is the harness' `demo`, who calls whom `run/demo.rs`; everything that is made belongs to
//! the harness, whose guard removes it even when this process is killed.

mod demo;
mod guide;
mod proof;
mod stop;
mod traffic;
mod view;

use anyhow::{Result, bail, ensure};

use crate::setup::{self, Purpose};
use crate::{build, command};
use demo::Demo;

const EXAMPLES: &str = "Examples, as root (sudo -E env \"PATH=$PATH\" ...):
  cargo xtask run                         # watch; Ctrl-C removes every trace
  cargo xtask run --once                  # check that traffic flows as it should, and end
  cargo xtask run --once --output json";

/// What to show.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Check that traffic flows through both proxies over mutual TLS and that the examples do what they say, print a
    /// summary and end
    #[arg(long)]
    once: bool,
    /// The form of --once's summary
    #[arg(long, value_enum, default_value_t = Output::Text, requires = "once")]
    output: Output,
}

/// The form of a summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!(
        command::is_root(),
        "the demo loads kernel programs and makes namespaces, which needs root; try sudo -E env \"PATH=$PATH\" cargo xtask run"
    );
    setup::ensure(Purpose::Run)?;
    build::release()?;
    let demo = command::step(
        "start a control plane, two nodes and their workloads",
        Demo::start,
    )?;
    if arguments.once {
        return once(demo, arguments.output);
    }
    guide::print(&demo);
    let stopped = view::show(&demo);
    println!();
    command::step("remove every trace", || {
        drop(demo);
        Ok(())
    })?;
    stopped
}

fn once(demo: Demo, output: Output) -> Result<()> {
    let proof = proof::gather(&demo);
    let logs = if proof.holds() {
        String::new()
    } else {
        demo.world.mesh.logs()
    };
    drop(demo);
    match output {
        Output::Text => print!("{proof}"),
        Output::Json => println!("{}", proof.json()),
    }
    if !proof.holds() {
        eprintln!("{logs}");
        bail!("the mesh did not do all that it should");
    }
    Ok(())
}

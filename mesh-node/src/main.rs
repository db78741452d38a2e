//! mesh-node: the data plane of one node.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use mesh_node::config::Config;
use mesh_node::{app, capture};
use mesh_runtime::{config, logging};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The data plane of one node: captures its workloads' connections and carries them.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  mesh-node --config /etc/nodemesh/node.toml --check   says what is wrong with the file\n  \
                  mesh-node --config /etc/nodemesh/node.toml           runs until SIGTERM, then drains"
)]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/nodemesh/node.toml")]
    config: PathBuf,
    /// Check the configuration and this machine, say what is wrong, and exit.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mesh-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Says what is wrong with the configuration, or with this machine as a node.
fn check(config: &Config) -> Result<()> {
    app::check(config)?;
    let probes = capture::probe::run(&config.capture.pin_directory);
    for probe in &probes {
        let mark = if probe.ok { "ok  " } else { "FAIL" };
        println!("{mark} {}: {}", probe.name, probe.found);
        if !probe.ok {
            println!("     {}", probe.advice);
        }
    }
    match probes.iter().filter(|probe| !probe.ok).count() {
        0 => Ok(()),
        count => bail!("{count} of {} requirements are not met; see above", probes.len()),
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let config: Config = config::load(&arguments.config)?;
    if arguments.check {
        return check(&config);
    }
    let log = logging::init(&config.log)?;
    app::run(config, log)
}

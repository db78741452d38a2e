//! mesh-node: the data plane of one node.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
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
            eprintln!("mesh-node: {}", explain(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, each said once: some messages hold their cause's text already.
fn explain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            let separator = if text.is_empty() { "" } else { ": " };
            text.push_str(separator);
            text.push_str(&cause);
        }
    }
    text
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
    config
        .check()
        .with_context(|| arguments.config.display().to_string())?;
    if arguments.check {
        return check(&config);
    }
    let log = logging::init(&config.log)?;
    app::run(config, log)
}

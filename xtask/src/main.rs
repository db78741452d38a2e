//! Every developer and CI task, as a verb: `cargo xtask <verb> --help` tells each one's examples.
//!
//! Owns the order of steps and what is shown of them. Decides nothing about the product, and compiles fast:
//! whatever needs heavy crates is a binary of its own that a verb calls.

mod bench;
mod build;
mod check;
mod clean;
mod command;
mod fuzz;
mod generate;
mod instructions;
mod layers;
mod run;
mod setup;
mod test;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer and CI tasks of nodemesh.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Install what building, running or testing needs; does nothing when all is there.
    Setup(setup::Arguments),
    /// Build the binaries, kernel programs included.
    Build(build::Arguments),
    /// Start a mesh of two nodes on this machine, to watch and to try by hand.
    Run(run::Arguments),
    /// Run test suites: all, or those named.
    Test(test::Arguments),
    /// Measure what the mesh costs, beside a direct connection and beside Envoy.
    Bench(bench::Arguments),
    /// Count the instructions that a request costs, and hold them against the budget.
    Instructions(instructions::Arguments),
    /// Look for bytes that break a parser: every fuzz target, or those named.
    Fuzz(fuzz::Arguments),
    /// Check formatting, lints, layering, file sizes, generated code and licences.
    Check,
    /// Generate mesh-api's Rust code from its protos (needs protoc).
    Gen(generate::Arguments),
    /// Check the kernel programs on older kernels, in virtual machines.
    Vm(vm::Arguments),
    /// Remove everything that was built, cached or left behind by a killed run.
    Clean,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().verb {
        Verb::Setup(arguments) => setup::run(&arguments),
        Verb::Build(arguments) => build::run(&arguments),
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Test(arguments) => test::run(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::Instructions(arguments) => instructions::run(&arguments),
        Verb::Fuzz(arguments) => fuzz::run(&arguments),
        Verb::Check => check::run(),
        Verb::Gen(arguments) => generate::run(&arguments),
        Verb::Vm(arguments) => vm::run(&arguments),
        Verb::Clean => clean::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

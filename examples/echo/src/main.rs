//! A small echo service and its client: a program that knows nothing of the mesh, for the demo and the tests.
//!
//! Standard library only: a thread for each connection, and a bound on how many.

mod call;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A TCP echo service and its client.
#[derive(Debug, Parser)]
#[command(name = "mesh-echo", version)]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Send back what comes in
    Serve(serve::Arguments),
    /// Connect, send, and check what comes back
    Call(call::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().role {
        Role::Serve(arguments) => serve::run(&arguments),
        Role::Call(arguments) => call::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mesh-echo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

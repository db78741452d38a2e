//! Small servers and their clients: programs that know nothing of the mesh, for the demo, the examples and the tests.
//!
//! Of bytes with the standard library only: a thread for each connection, and a bound on how many. Of HTTP with hyper.

mod call;
mod get;
mod http;
mod serve;
mod time;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Servers and clients of bytes and of HTTP.
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
    /// Answer HTTP requests with a name and a version, or fail
    Http(http::Arguments),
    /// Send HTTP requests, and show what answers
    Get(get::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().role {
        Role::Serve(arguments) => serve::run(&arguments),
        Role::Call(arguments) => call::run(&arguments),
        Role::Http(arguments) => http::run(arguments),
        Role::Get(arguments) => get::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mesh-echo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

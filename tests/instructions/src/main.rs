//! The path of a request through the data plane, on one thread, for valgrind to count: `cargo xtask instructions` runs it.
//!
//! Everything between the clients' sockets and the servers' is mesh-node's own, from the accepted connection on. The clients
//! and the servers take their turns when the runtime has nothing left to do, outside of what is counted, so that the same
//! instructions are executed in the same order in every run.

mod measure;
mod peer;
mod tally;
mod world;

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::world::Case;

#[global_allocator]
static ALLOCATOR: tally::Counting = tally::Counting;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mesh-instructions: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `--list` prints the cases' names; `CASE REQUESTS` prints what it counted itself, as a JSON object.
fn run() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let names: Vec<&str> = Case::ALL.iter().map(|case| case.name).collect();
    let usage = || format!("usage: mesh-instructions --list | {} REQUESTS", names.join(" | "));
    let first = arguments.next().with_context(usage)?;
    if first == "--list" {
        println!("{}", names.join("\n"));
        return Ok(());
    }
    let case = Case::ALL
        .iter()
        .find(|case| case.name == first)
        .with_context(usage)?;
    let requests: u64 = arguments
        .next()
        .and_then(|number| number.parse().ok())
        .with_context(usage)?;
    let tally = measure::run(case, requests)?;
    let counts = serde_json::json!({
        "requests": requests,
        "system_calls": tally.system_calls,
        "allocations": tally.allocations,
        "allocated": tally.allocated,
        "clock_readings": tally.clock_readings,
    });
    println!("{counts}");
    // Not taken apart: nothing of it is counted, and the log's thread is not waited for.
    std::process::exit(0)
}

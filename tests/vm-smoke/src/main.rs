//! Runs every check on the running kernel and says how it went, for a person or a serial console.
//!
//! `mesh-vm-smoke [CHECK...]` runs checks, `mesh-vm-smoke statistics` shows what the verifier says of each program; the
//! other verbs are for the checks' own child processes.

use std::{env, path::Path, process::ExitCode};

use anyhow::{Context as _, Result};
use mesh_vm_smoke::{checks, client, owner, verifier};

fn main() -> Result<ExitCode> {
    let program = env::current_exe()?;
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("client") => {
            let request: client::Request = serde_json::from_str(arguments.get(1).context("no request")?)?;
            println!("{}", serde_json::to_string(&request.perform()?)?);
            Ok(ExitCode::SUCCESS)
        }
        Some("owner") => {
            let request: owner::Request = serde_json::from_str(arguments.get(1).context("no request")?)?;
            request.perform()?;
            Ok(ExitCode::SUCCESS)
        }
        Some("statistics") => statistics(),
        _ => Ok(run(&program, &arguments)),
    }
}

/// Prints what the verifier says, one line for each program: `statistics KERNEL PROGRAM INSTRUCTIONS STACK`.
fn statistics() -> Result<ExitCode> {
    let kernel = verifier::kernel()?;
    for (name, measured) in verifier::measure()? {
        println!(
            "statistics {kernel} {name} {} {}",
            measured.instructions, measured.stack
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn run(program: &Path, wanted: &[String]) -> ExitCode {
    let mut failed = 0_u32;
    for (name, _) in checks::ALL {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        match checks::run(name, program) {
            Ok(()) => println!("ok      {name}"),
            Err(error) => {
                failed += 1;
                println!("FAILED  {name}: {error:#}");
            }
        }
    }
    println!("mesh-vm-smoke: {failed} failed");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

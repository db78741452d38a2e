//! The bench's program; `cargo xtask bench` calls it with a plan.

use std::process::ExitCode;

use anyhow::{Context, Result};
use mesh_bench::cases::cases;
use mesh_bench::plan::Plan;
use mesh_bench::report;
use mesh_bench::stage::Stage;

/// Some thousand samples of each process.
const PROFILE_SECONDS: u32 = 5;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let argument = std::env::args()
        .nth(1)
        .context("call this by `cargo xtask bench`")?;
    let plan = Plan::parse(&argument)?;
    let peers = plan.peers()?;
    let cases = cases(&plan)?;
    let mut stage = Stage::open(&plan)?;
    for case in cases {
        let group = case.group(&mut stage, &peers)?;
        let measured = group.run(&mut stage, plan.rounds, plan.seconds, |what| {
            eprintln!("    {what}");
        })?;
        print!("{}", report::table(&measured));
        if let (Some(folder), Some(inferno)) = (&plan.profile, &plan.inferno) {
            for file in group.profile(folder, inferno, plan.seconds.max(PROFILE_SECONDS))? {
                eprintln!("    wrote {}", file.display());
            }
        }
    }
    Ok(())
}

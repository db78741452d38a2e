//! Connections that only stay, by our own tool.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use mesh_harness::{Place, Process};

use crate::plan::Size;

/// Thousands of connections, one after another, on a busy machine.
const DEADLINE: Duration = Duration::from_mins(1);

/// Opens connections that ask once; they stay until the process is dropped.
pub fn open(from: &Place, target: SocketAddr, connections: u32) -> Result<Process> {
    let path = super::path_of(Size::One);
    // Two at once have a log each.
    let program = from.program_at(&format!("hold-{}", target.port()), &super::tool()?);
    let arguments = ["hold", &target.to_string(), &connections.to_string(), &path];
    let mut process = program.args(arguments).spawn()?;
    process.wait_log(&["holding"], DEADLINE)?;
    Ok(process)
}

//! The ends of a load for which there is no fitting program of others: `grpc`, `handshakes`, `hold`.
//!
//! The protocols are others' all the same: tonic's server, rustls' client.

mod grpc;
mod handshakes;
mod hold;

use std::process::ExitCode;

use anyhow::{Result, bail};

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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // One thread, as nginx has one worker and wrk one thread.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match words.as_slice() {
        ["grpc", port] => runtime.block_on(grpc::serve(port.parse()?)),
        ["handshakes", target, clients, seconds, certificate, key, roots] => {
            let settings = handshakes::settings(certificate, key, roots)?;
            runtime.block_on(handshakes::run(
                target.parse()?,
                clients.parse()?,
                seconds.parse()?,
                settings,
            ))
        }
        ["hold", target, connections, path] => {
            runtime.block_on(hold::run(target.parse()?, connections.parse()?, path))
        }
        _ => bail!("this is called by mesh-bench, not by hand"),
    }
}

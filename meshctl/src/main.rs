//! meshctl: the command line of the mesh. Reads the arguments, runs one command, turns its end into an exit code.
//!
//! Invariant: everything a command prints is written at once, at its end (for `top`: of each round), so that a program that
//! reads it gets whole JSON or none.

mod admin_client;
mod check;
mod cli;
mod mountinfo;
mod run;
mod show;
mod stat;
mod table;
mod terminal;
mod units;

use std::ffi::OsStr;
use std::io::{self, ErrorKind, IsTerminal as _, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser};

use admin_client::{AdminClient, AdminError, Peer};
use cli::{Cli, Command, Output};

/// What was asked for did not succeed.
const FAILED: u8 = 1;
/// No node answers; 2 is clap's, for arguments that make no sense.
const UNREACHABLE: u8 = 3;

fn main() -> ExitCode {
    if std::env::args_os().next().as_deref() == Some(OsStr::new(run::STAGE_NAME)) {
        return run::stage();
    }
    let cli = Cli::parse();
    let is_run = matches!(cli.command, Command::Run(_));
    match execute(cli) {
        Ok(code) => code,
        Err(error) => {
            report(&error);
            ExitCode::from(if is_run { run::REFUSED } else { exit_code(&error) })
        }
    }
}

fn execute(cli: Cli) -> anyhow::Result<ExitCode> {
    let output = cli.global.output;
    let client = AdminClient::new(Peer::Node, cli.global.admin, cli.global.timeout);
    let text = match cli.command {
        Command::Check => {
            let report = check::check_machine();
            print(&report.render(output).context("cannot write the report as JSON")?)?;
            return Ok(if report.is_fit() {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(FAILED)
            });
        }
        Command::Run(arguments) => return Ok(run::run(&arguments, &client)?),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "meshctl", &mut script);
            String::from_utf8(script).context("the completion script is not text")?
        }
        Command::Status => show::status(&client, output)?,
        Command::Workloads(filter) => show::workloads(&client, output, &filter)?,
        Command::Services(filter) => show::services(&client, output, &filter)?,
        Command::Connections(filter) => show::connections(&client, output, &filter)?,
        Command::Direct => show::direct(&client, output)?,
        Command::Certificates => show::certificates(&client, output)?,
        Command::Config => show::config(&client)?,
        Command::Routes(filter) if filter.node => show::node_routes(&client, output, &filter)?,
        Command::Routes(filter) => {
            let control = AdminClient::new(Peer::ControlPlane, filter.control, cli.global.timeout);
            show::control_routes(&control, output, &filter)?
        }
        Command::Stat(arguments) => stat::stat(&client, output, &arguments)?,
        Command::Top(arguments) => {
            stat::top(&client, output, &arguments, screen(output), print)?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes to standard output, and says whether anybody reads it: that a reader has gone away (`meshctl … | head`) is no
/// error.
fn print(text: &str) -> anyhow::Result<bool> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// The terminal that tables are for, if standard output is one.
fn screen(output: Output) -> Option<stat::Screen> {
    if output == Output::Json || !io::stdout().is_terminal() {
        return None;
    }
    Some(stat::Screen {
        lines: terminal::lines(io::stdout()),
    })
}

fn report(error: &anyhow::Error) {
    eprintln!("meshctl: {error:#}");
}

fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<AdminError>() {
        Some(AdminError::Unreachable { .. } | AdminError::TimedOut { .. }) => UNREACHABLE,
        _ => FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_an_unreachable_node_from_other_failures() {
        let nobody = AdminClient::new(
            Peer::Node,
            "127.0.0.1:1".parse().expect("an address"),
            std::time::Duration::from_secs(1),
        );
        let error = nobody.get("/status").expect_err("nothing listens on port 1");
        assert_eq!(exit_code(&error.into()), UNREACHABLE);
        assert_eq!(exit_code(&anyhow::anyhow!("another")), FAILED);
    }
}

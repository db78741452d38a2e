//! The arguments: every command with its help and examples.
//!
//! Refuses what cannot make sense before anything is done: a workload's name that no manifest could have, an
//! address without a port.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use mesh_model::ResourceName;

const EXIT_CODES: &str = "Exit codes:
  0  success
  1  what was asked for did not succeed (for check: the machine is not fit)
  2  the arguments make no sense
  3  no node answers on the admin address
run has its own: see meshctl run --help";

const RUN_HELP: &str = "Examples:
  meshctl run --workload shop/web-1 -- nginx -g 'daemon off;'
  meshctl run --workload shop/batch --user nobody -- ./report --daily
  meshctl run --workload shop/web-1 --network-namespace /run/netns/web-1 -- sh

Exit codes:
  the program's own; 128 + N when signal N ended it
  125  meshctl did not start it, and says why
  126  it is no program that can be run
  127  there is no such program";

/// Looks at and works with a node of the mesh.
#[derive(Debug, Parser)]
#[command(name = "meshctl", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct GlobalArgs {
    /// The node's admin listener
    #[arg(
        long,
        global = true,
        value_name = "ADDR",
        env = "MESHCTL_ADMIN",
        default_value = "127.0.0.1:15000"
    )]
    pub(crate) admin: SocketAddr,
    /// A table for people, or JSON for programs
    #[arg(long, short, global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// How long the node may take for one answer
    #[arg(long, global = true, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "5s")]
    pub(crate) timeout: Duration,
}

/// The form of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Aligned columns.
    Table,
    /// What the node answered, indented.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Checks whether this machine is fit to be a node, and says what to do where it is not
    ///
    /// Asks no node: run it before the first start, as the user that mesh-node will run as. A warning leaves the
    /// machine fit; any failure makes the exit code 1.
    #[command(
        after_help = "Examples:\n  sudo meshctl check\n  sudo meshctl check --output json | jq '.findings[] | select(.level == \"fail\")'"
    )]
    Check,
    /// Shows the node at a glance: readiness, control plane, counts, the kernel programs' counters
    #[command(after_help = "Examples:\n  meshctl status\n  meshctl status --output json | jq .is_ready")]
    Status,
    /// Lists the workloads that the node knows, its own with what it does for them
    #[command(after_help = "Examples:\n  meshctl workloads --local\n  meshctl workloads --namespace shop")]
    Workloads(WorkloadFilter),
    /// Lists the Services, with what stands behind them
    #[command(after_help = "Examples:\n  meshctl services\n  meshctl services --endpoints --namespace shop")]
    Services(ServiceFilter),
    /// Lists the connections that are open now, with the verified identity of the peer
    #[command(after_help = "Examples:\n  meshctl connections\n  meshctl connections --workload shop/web-1")]
    Connections(ConnectionFilter),
    /// Lists the certificates that the node holds; never a key
    #[command(
        after_help = "Examples:\n  meshctl certificates\n  meshctl certificates --output json | jq '.[].not_after'"
    )]
    Certificates,
    /// Prints everything the node knows, as one JSON object
    #[command(after_help = "Examples:\n  meshctl config > node.json")]
    Config,
    /// Starts a program as a workload of this node
    ///
    /// The workload must be in the mesh and belong to the node that --admin names. The program starts once the
    /// node has captured the workload, in its cgroup and its network namespace; signals are passed on to it.
    #[command(after_help = RUN_HELP)]
    Run(RunArgs),
    /// Prints a shell's completion script
    #[command(
        after_help = "Examples:\n  meshctl completions bash > /etc/bash_completion.d/meshctl\n  meshctl completions zsh > ~/.zfunc/_meshctl"
    )]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
}

#[derive(Debug, Default, Args)]
pub(crate) struct WorkloadFilter {
    /// Only this namespace's
    #[arg(long, short)]
    pub(crate) namespace: Option<String>,
    /// Only those of this node
    #[arg(long)]
    pub(crate) local: bool,
}

#[derive(Debug, Default, Args)]
pub(crate) struct ServiceFilter {
    /// Only this namespace's
    #[arg(long, short)]
    pub(crate) namespace: Option<String>,
    /// One line for each endpoint instead of each Service
    #[arg(long)]
    pub(crate) endpoints: bool,
}

#[derive(Debug, Default, Args)]
pub(crate) struct ConnectionFilter {
    /// Only this local workload's
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub(crate) workload: Option<ResourceName>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The workload that the program is to be
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub(crate) workload: ResourceName,
    /// Run it as this user (name or number) instead of as the caller
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// Enter this network namespace instead of the one that the manifest names
    #[arg(long, value_name = "FILE")]
    pub(crate) network_namespace: Option<PathBuf>,
    /// How long to wait until the node has captured the workload
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "10s")]
    pub(crate) wait: Duration,
    /// Leave the cgroup behind, even if it was made for this run and is empty
    #[arg(long)]
    pub(crate) keep_cgroup: bool,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_help_and_examples() {
        let command = Cli::command();
        for subcommand in command.get_subcommands() {
            let name = subcommand.get_name();
            assert!(subcommand.get_about().is_some(), "{name} says nothing");
            let help = subcommand
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(help.contains(&format!("meshctl {name}")), "{name} has no example");
        }
    }

    #[test]
    fn takes_global_options_on_either_side() {
        let before = Cli::try_parse_from(["meshctl", "--output", "json", "status"]).expect("valid");
        let after =
            Cli::try_parse_from(["meshctl", "status", "-o", "json", "--timeout", "300ms"]).expect("valid");
        assert_eq!(before.global.output, Output::Json);
        assert_eq!(after.global.output, Output::Json);
        assert_eq!(after.global.timeout, Duration::from_millis(300));
    }

    #[test]
    fn leaves_everything_after_the_dashes_to_the_program() {
        let line = [
            "meshctl",
            "run",
            "--workload",
            "shop/web-1",
            "--",
            "sh",
            "-c",
            "true",
            "--output",
        ];
        let Command::Run(run) = Cli::try_parse_from(line).expect("valid").command else {
            panic!("another command");
        };
        assert_eq!(run.command, ["sh", "-c", "true", "--output"]);
        assert_eq!(run.wait, Duration::from_secs(10));
    }

    #[test]
    fn refuses_arguments_that_make_no_sense() {
        for (line, message) in [
            (
                &["meshctl", "run", "--workload", "web-1", "--", "true"][..],
                "NAMESPACE/NAME",
            ),
            (&["meshctl", "run", "--workload", "shop/web-1"], "COMMAND"),
            (&["meshctl", "--admin", "localhost", "status"], "--admin"),
            (&["meshctl", "--timeout", "5 apples", "status"], "--timeout"),
        ] {
            let error = Cli::try_parse_from(line)
                .expect_err("must be refused")
                .to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn completes_in_every_shell() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "meshctl", &mut script);
            let script = String::from_utf8(script).expect("text");
            assert!(
                script.contains("certificates"),
                "{shell} does not complete the commands"
            );
        }
    }
}

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
  3  nobody answers on the admin address, or not in time
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
    /// Lists the routes, with what is wrong with them
    ///
    /// Asks mesh-control, which knows every route that is written and whether it is accepted; with --node, what the node
    /// goes by. --control names mesh-control's admin address.
    #[command(
        after_help = "Examples:\n  meshctl routes --control 192.0.2.10:15012\n  meshctl routes --rules --namespace shop\n  meshctl routes --node"
    )]
    Routes(RouteFilter),
    /// Shows rates, success and latency of requests over a window
    ///
    /// Counted are the requests of this node's own workloads. SUCCESS is the share that was not answered with 500 or more, or
    /// with gRPC's equivalents, and was answered at all. FLAGS says what the proxy did or saw, and how often.
    #[command(
        after_help = "Examples:\n  meshctl stat\n  meshctl stat routes --window 30s --namespace shop\n  meshctl stat workloads --total --output json"
    )]
    Stat(StatArgs),
    /// Shows the same live, the busiest first, until it is interrupted
    ///
    /// Where standard output is no terminal, one round follows the other; with --output json, an object a line.
    #[command(
        after_help = "Examples:\n  meshctl top\n  meshctl top routes --interval 5s\n  meshctl top workloads --count 3 --output json"
    )]
    Top(TopArgs),
    /// Lists the connections that are open now, with the verified identity of the peer
    #[command(after_help = "Examples:\n  meshctl connections\n  meshctl connections --workload shop/web-1")]
    Connections(ConnectionFilter),
    /// Lists what goes past mesh-node within this node, and why the rest does not
    #[command(
        after_help = "Examples:\n  meshctl direct\n  meshctl direct --output json | jq '.pairs[].withheld'"
    )]
    Direct,
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

#[derive(Debug, Args)]
pub(crate) struct RouteFilter {
    /// mesh-control's admin listener
    #[arg(
        long,
        value_name = "ADDR",
        env = "MESHCTL_CONTROL",
        default_value = "127.0.0.1:15012"
    )]
    pub(crate) control: SocketAddr,
    /// What the node that --admin names goes by, instead of what mesh-control says
    #[arg(long)]
    pub(crate) node: bool,
    /// Only this namespace's: of routes by their own, with --node by their Service's
    #[arg(long, short)]
    pub(crate) namespace: Option<String>,
    /// The rules, too: what they match, and where requests go
    #[arg(long, conflicts_with = "node")]
    pub(crate) rules: bool,
}

/// What requests are added up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatBy {
    /// The Service asked for.
    Services,
    /// The rule that matched, and the backend that it chose.
    Routes,
    /// The workload that asked, and the one that answered.
    Workloads,
}

#[derive(Debug, Args)]
pub(crate) struct StatArgs {
    /// What requests are added up by
    #[arg(value_enum, default_value_t = StatBy::Services)]
    pub(crate) by: StatBy,
    /// How long to look
    #[arg(long, short, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "5s")]
    pub(crate) window: Duration,
    /// All since the node started, instead of a window
    #[arg(long, conflicts_with = "window")]
    pub(crate) total: bool,
    /// Only this namespace's Services, or workloads
    #[arg(long, short)]
    pub(crate) namespace: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// What requests are added up by
    #[arg(value_enum, default_value_t = StatBy::Services)]
    pub(crate) by: StatBy,
    /// How often it is refreshed
    #[arg(long, short, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "1s")]
    pub(crate) interval: Duration,
    /// End after so many rounds
    #[arg(long, short, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Only this namespace's Services, or workloads
    #[arg(long, short)]
    pub(crate) namespace: Option<String>,
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

// === impl StatBy ===

impl StatBy {
    /// As people and nodes write it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::Routes => "routes",
            Self::Workloads => "workloads",
        }
    }
}

#[cfg(test)]
mod tests;

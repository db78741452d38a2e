//! The command line: what each command does, and what it prints.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand};
use mesh_control::app::{self, App};
use mesh_control::ca::{Authority, DEFAULT_TRUST_DOMAIN, Directory, Rotation, Step};
use mesh_control::config::Config;
use mesh_control::tokens::TokenDirectory;
use mesh_control::world::Severity;
use mesh_model::{NodeName, TrustDomain};
use mesh_runtime::drain::StopSignal;

/// Examples, below the help.
const EXAMPLES: &str = "\
Examples:
  mesh-control --config control.toml                 run the control plane
  mesh-control --config control.toml --check         check the configuration and the manifests, change nothing
  mesh-control check manifests                       check a folder of manifests, without any configuration
  mesh-control token create --node node-a > token    make the join token of a node
  mesh-control ca root > roots.pem                   the roots that nodes verify the control plane against
  mesh-control ca rotate prepare                     begin the rollover of the root";

/// The control plane of nodemesh: tells the nodes their configuration and signs their certificates.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, args_conflicts_with_subcommands = false)]
pub(crate) struct Arguments {
    /// The configuration file (TOML)
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = "/etc/nodemesh/control.toml"
    )]
    config: PathBuf,
    /// Check the configuration and the manifests, print what is wrong, and exit with 1 if there is an error
    #[arg(long)]
    check: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a folder of manifests, print what is wrong or has no effect, and exit with 1 if there is an error; needs no
    /// configuration
    Check(FolderArgument),
    #[command(flatten)]
    Configured(ConfiguredCommand),
}

/// Commands that read the configuration.
#[derive(Debug, Subcommand)]
enum ConfiguredCommand {
    /// Join tokens: what nodes show to be believed that they are who they are
    #[command(subcommand)]
    Token(TokenCommand),
    /// The certificate authority
    #[command(subcommand)]
    Ca(CaCommand),
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token and print it; it cannot be shown again
    #[command(
        after_help = "Example:\n  mesh-control token create --node node-a --config control.toml > token"
    )]
    Create(NodeArgument),
    /// List nodes and when their tokens were made
    List,
    /// Make every token of a node invalid; its stream ends within seconds
    Revoke(NodeArgument),
}

#[derive(Debug, Args)]
struct NodeArgument {
    /// The node's name, as in its configuration and in the Workloads' spec.node
    #[arg(long, value_name = "NAME")]
    node: String,
}

#[derive(Debug, Args)]
struct FolderArgument {
    /// The folder of manifests
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

#[derive(Debug, Subcommand)]
enum CaCommand {
    /// Print the trusted roots as PEM, for the nodes' control.root-certificates; makes the root if there is none
    Root,
    /// Replace the own root by a new one, in three steps
    #[command(subcommand)]
    Rotate(RotateCommand),
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum RotateCommand {
    /// Make a new root, and let every node trust it beside the old one
    Prepare,
    /// Sign with the new root; every node renews its certificates
    Activate,
    /// Trust the old root no more
    Finish,
}

// === impl Arguments ===

impl Arguments {
    /// Does what is asked.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let load = || Config::load(&self.config);
        match self.command {
            Some(_) if self.check => bail!("--check stands alone; leave the command out"),
            Some(Command::Check(argument)) => {
                // Identities are checked for their form only, for which any trust domain will do.
                let trust_domain = TrustDomain::new(DEFAULT_TRUST_DOMAIN)?;
                return Ok(check_folder(
                    &argument.folder,
                    &trust_domain,
                    "the manifests are good",
                ));
            }
            Some(Command::Configured(command)) => command.run(&load()?)?,
            None if self.check => return check(&load()?),
            None => serve(&load()?)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn check(config: &Config) -> anyhow::Result<ExitCode> {
    Authority::check(&config.ca).context("the certificate authority ([ca])")?;
    let trust_domain = config.ca.trust_domain().map_err(anyhow::Error::msg)?;
    let good = "the configuration and the manifests are good";
    Ok(check_folder(&config.source.folder, &trust_domain, good))
}

/// Prints everything that is wrong with a folder's manifests, conditions that are not true included; or that they are
/// good.
fn check_folder(folder: &Path, trust_domain: &TrustDomain, good: &str) -> ExitCode {
    let problems = app::check(folder, trust_domain);
    for problem in &problems {
        println!("{problem}");
    }
    let count = |severity| {
        problems
            .iter()
            .filter(|problem| problem.severity == severity)
            .count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    if errors > 0 {
        println!(
            "{errors} of {} problems are errors: these manifests would not be taken",
            problems.len()
        );
        return ExitCode::FAILURE;
    }
    match warnings {
        0 => println!("{good}"),
        1 => println!("{good}, but for 1 warning"),
        _ => println!("{good}, but for {warnings} warnings"),
    }
    ExitCode::SUCCESS
}

fn serve(config: &Config) -> anyhow::Result<()> {
    mesh_runtime::logging::init(&config.log).context("[log]")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("mesh-control")
        .build()
        .context("cannot start the asynchronous runtime")?;
    runtime.block_on(async {
        let mut signal = StopSignal::new().context("cannot catch signals")?;
        let app = App::start(config).await?;
        let name = signal.received().await;
        tracing::info!(signal = name, "stopping");
        tokio::select! {
            () = app.stop() => {}
            _ = signal.received() => tracing::warn!("a second signal: stopping at once"),
        }
        Ok(())
    })
}

// === impl ConfiguredCommand ===

impl ConfiguredCommand {
    fn run(self, config: &Config) -> anyhow::Result<()> {
        match self {
            Self::Token(command) => command.run(config),
            Self::Ca(CaCommand::Root) => {
                let authority = Authority::open(&config.ca).context("the certificate authority ([ca])")?;
                print!("{}", authority.signer().roots_pem());
                Ok(())
            }
            Self::Ca(CaCommand::Rotate(command)) => command.run(config),
        }
    }
}

// === impl TokenCommand ===

impl TokenCommand {
    fn run(self, config: &Config) -> anyhow::Result<()> {
        let directory = TokenDirectory::new(&config.tokens.directory);
        match self {
            Self::Create(argument) => {
                let node = argument.node()?;
                let token = directory.create(&node)?;
                eprintln!(
                    "Put this into the file that control.token-file of node {node} names. It is shown once."
                );
                println!("{}", token.as_str());
            }
            Self::List => {
                println!("{:<40} {:<30} SHA-256", "NODE", "CREATED");
                for entry in directory.list()? {
                    let digest = entry.sha256.get(..16).unwrap_or(&entry.sha256);
                    println!("{:<40} {:<30} {digest}", entry.node.as_str(), entry.created);
                }
            }
            Self::Revoke(argument) => {
                let node = argument.node()?;
                let revoked = directory.revoke(&node)?;
                eprintln!(
                    "revoked {revoked} token(s) of node {node}; its certificates stay valid until they end"
                );
            }
        }
        Ok(())
    }
}

// === impl NodeArgument ===

impl NodeArgument {
    fn node(&self) -> anyhow::Result<NodeName> {
        NodeName::new(&self.node).context("--node")
    }
}

// === impl RotateCommand ===

impl RotateCommand {
    fn run(self, config: &Config) -> anyhow::Result<()> {
        let Some(path) = &config.ca.directory else {
            bail!(
                "the root is not here: the signer is an intermediate from ca.certificate. Put the old and the new root \
                 into ca.root, wait, replace ca.certificate and ca.key, wait, and take the old root out of ca.root"
            );
        };
        let trust_domain = config.ca.trust_domain().map_err(anyhow::Error::msg)?;
        let step = match self {
            Self::Prepare => Step::Prepare,
            Self::Activate => Step::Activate,
            Self::Finish => Step::Finish,
        };
        let state = Directory::new(path).rotate(step, &trust_domain)?;
        let lifetime = config.ca.certificate_lifetime.as_secs();
        eprintln!(
            "{}",
            match state {
                Rotation::Prepared { next, .. } => format!(
                    "the new root {next} is trusted beside the old one.\nAdd it to the nodes' control.root-certificates \
                     (mesh-control ca root), wait until every node has heard of it, then run 'ca rotate activate'."
                ),
                Rotation::Activated { signer, .. } => format!(
                    "the new root {signer} signs.\nWait until every node has renewed its certificates, {lifetime} s at \
                     most, then run 'ca rotate finish'."
                ),
                Rotation::Stable { signer } =>
                    format!("{signer} is the only root; the old one and its key are gone."),
            }
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn takes_the_configuration_before_or_after_the_command() {
        for line in [
            "mesh-control --config x token create --node a",
            "mesh-control token create --node a --config x",
            "mesh-control ca rotate prepare --config x",
            "mesh-control --config x --check",
            "mesh-control check manifests --config x",
        ] {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(arguments.config, PathBuf::from("x"), "{line}");
        }
        assert!(Arguments::try_parse_from(["mesh-control", "token", "create"]).is_err());
    }
}

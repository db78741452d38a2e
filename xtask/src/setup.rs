//! `cargo xtask setup`: finds what is missing, and installs it or says how.
//!
//! Looks first and acts only on what is missing, so that the verbs can call it every time. Touches nothing but
//! packages (as root, on Debian and Ubuntu) and `.cache`; leaves no service running that it installed.

mod apt;
mod linker;
mod need;
mod toolchain;
pub(crate) mod tools;

use anyhow::{Result, bail};

use crate::command;
use need::Need;

/// Names a prebuilt object of the kernel programs: then nothing is needed to build them.
const OBJECT: &str = "MESH_EBPF_OBJECT";
/// The compiler, then the LLVM that fits it, then nothing: each round may show the next need.
const ROUNDS: usize = 3;
const EXAMPLES: &str = "Examples:
  cargo xtask setup               # all that building, running and testing needs
  cargo xtask setup --for build   # only what building needs
  cargo xtask setup --for bench   # what cargo xtask bench needs, Envoy and oha included";

/// What to prepare for.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// What to prepare for; each includes the ones before it, but for bench, which includes build and run
    #[arg(long = "for", value_enum, default_value_t = Purpose::Test)]
    purpose: Purpose,
}

/// What the machine is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Purpose {
    /// Compile the workspace
    Build,
    /// Run the demo mesh
    Run,
    /// Run every check and test
    Test,
    /// Run the benchmark
    Bench,
}

impl Purpose {
    /// Whether who is prepared for this is prepared for another.
    fn includes(self, other: Self) -> bool {
        match (self, other) {
            (Self::Bench, Self::Test) => false,
            _ => other <= self,
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure(arguments.purpose)?;
    if arguments.purpose == Purpose::Bench {
        tools::envoy()?;
        tools::oha()?;
        tools::inferno()?;
    }
    println!("everything is there");
    Ok(())
}

/// Makes sure that all is there; quick and silent when it is.
pub(crate) fn ensure(purpose: Purpose) -> Result<()> {
    for round in 0.. {
        let missing = missing(purpose);
        if missing.is_empty() {
            break;
        }
        for need in &missing {
            eprintln!("missing: {} ({})", need.what, need.why);
        }
        if round == ROUNDS || !command::is_root() || !apt::is_here() {
            bail!("{}", advice(&missing));
        }
        apt::install(&missing)?;
    }
    if std::env::var_os(OBJECT).is_some() {
        return Ok(());
    }
    linker::ensure(toolchain::llvm_wanted())
}

fn missing(purpose: Purpose) -> Vec<Need> {
    let mut needs = Vec::new();
    if std::env::var_os(OBJECT).is_none() {
        needs.extend(toolchain::missing());
    }
    needs.extend(need::missing(purpose));
    needs
}

/// The commands to type, for who has to install by hand.
fn advice(missing: &[Need]) -> String {
    let mut lines = vec!["install what is missing, then try again:".to_owned()];
    let packages: Vec<String> = missing.iter().filter_map(Need::preferred_packages).collect();
    if !packages.is_empty() {
        lines.push("  sudo apt-get update".to_owned());
        lines.push(format!(
            "  sudo apt-get install --no-install-recommends {}",
            packages.join(" ")
        ));
        lines.push("(package names are Debian's; other distributions have the same programs)".to_owned());
    }
    lines.extend(
        missing
            .iter()
            .filter_map(|need| need.otherwise.as_ref().map(|line| format!("  {line}"))),
    );
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_measures_needs_no_test_and_the_other_way_round() {
        assert!(Purpose::Bench.includes(Purpose::Run) && Purpose::Bench.includes(Purpose::Build));
        assert!(!Purpose::Bench.includes(Purpose::Test) && !Purpose::Test.includes(Purpose::Bench));
        assert!(Purpose::Test.includes(Purpose::Run) && !Purpose::Build.includes(Purpose::Run));
    }

    #[test]
    fn advice_names_the_exact_commands() {
        let missing = [
            Need::new("wrk", "load for the tests", &[&["wrk"]]),
            Need::new("nginx", "a server for the tests", &[&["nginx-light"], &["nginx"]]),
            Need::new("clippy", "lints", &[]).or_else("rustup component add clippy"),
        ];
        let advice = advice(&missing);
        assert!(
            advice.contains("apt-get install --no-install-recommends wrk nginx-light\n"),
            "{advice}"
        );
        assert!(advice.ends_with("  rustup component add clippy"), "{advice}");
    }
}

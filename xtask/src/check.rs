//! `cargo xtask check`: what CI refuses, in the order of what is quickest to find.

use std::fs;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::setup::{self, Purpose};
use crate::{command, generate, layers, workspace};

/// Compiling every crate for clippy, cold.
const DEADLINE: Duration = Duration::from_mins(30);
/// A longer file holds more than one noun.
const MAX_LINES: usize = 500;

/// What is checked, and how.
type Check = (&'static str, fn() -> Result<()>);

pub(crate) fn run() -> Result<()> {
    setup::ensure(Purpose::Build)?;
    let checks: [Check; 7] = [
        ("formatting", formatting),
        ("every crate inherits the workspace's lints", lints_inherited),
        ("no file over 500 lines", sizes),
        ("layering (layers.toml)", layers::check),
        ("generated code", generated),
        ("licences and bans (deny.toml)", licences),
        ("clippy", clippy),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        if let Err(error) = command::step(name, check) {
            eprintln!("    {error:#}");
            failed.push(name);
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

fn formatting() -> Result<()> {
    command::run(&mut command::cargo(["fmt", "--all", "--check"]), DEADLINE)
}

fn clippy() -> Result<()> {
    let mut cargo = command::cargo([
        "clippy",
        "--locked",
        "--workspace",
        "--exclude",
        "mesh-ebpf",
        "--all-targets",
        "--keep-going",
    ]);
    command::run(cargo.args(["--", "-D", "warnings"]), DEADLINE)
}

fn lints_inherited() -> Result<()> {
    let mut without = Vec::new();
    for member in workspace::members()? {
        let manifest = workspace::manifest(&member)?;
        let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace"));
        if inherits.and_then(toml::Value::as_bool) != Some(true) {
            without.push(member.display().to_string());
        }
    }
    ensure!(
        without.is_empty(),
        "add `[lints]` with `workspace = true` to the Cargo.toml of {}",
        without.join(", ")
    );
    Ok(())
}

fn sizes() -> Result<()> {
    let mut long = Vec::new();
    for path in workspace::hand_written("rs")? {
        let lines = fs::read_to_string(workspace::root().join(&path))?.lines().count();
        if lines > MAX_LINES {
            long.push(format!("{}: {lines} lines", path.display()));
        }
    }
    ensure!(
        long.is_empty(),
        "split by noun, or move the tests to a file of their own:\n    {}",
        long.join("\n    ")
    );
    Ok(())
}

fn generated() -> Result<()> {
    if generate::has_protoc() {
        return generate::check();
    }
    if in_ci() {
        bail!("protoc is not installed, and CI must compare the generated code: run `cargo xtask setup`");
    }
    eprintln!("    not compared: protoc is not installed (`cargo xtask setup` installs it)");
    Ok(())
}

/// cargo-deny takes minutes to build, so it is no part of setup: whoever changes a dependency runs it, and CI does
/// where its image has it.
fn licences() -> Result<()> {
    if command::find("cargo-deny").is_none() {
        eprintln!("    not checked: cargo-deny is not installed (`cargo install --locked cargo-deny`)");
        return Ok(());
    }
    command::run(
        &mut command::cargo(["deny", "check", "bans", "licenses", "sources"]),
        DEADLINE,
    )
}

fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

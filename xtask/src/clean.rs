//! `cargo xtask clean`: back to a fresh checkout, and a machine without traces of a killed run.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::{command, workspace};

pub(crate) fn run() -> Result<()> {
    if command::is_root() {
        command::step("remove what killed runs left (namespaces, cgroups, pins)", sweep)?;
    } else {
        eprintln!("not looking for what killed runs left: that needs root");
    }
    command::step("remove target and .cache", || {
        remove(&workspace::root().join("target"))?;
        remove(&workspace::cache())
    })
}

fn sweep() -> Result<()> {
    for prefix in mesh_harness::sweep()? {
        eprintln!("    removed everything of {prefix}");
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
}

//! `cargo xtask clean`: back to a fresh checkout.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::{command, workspace};

pub(crate) fn run() -> Result<()> {
    command::step("remove target and .cache", || {
        remove(&workspace::root().join("target"))?;
        remove(&workspace::cache())
    })
}

fn remove(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
}

//! Where things are in this workspace.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context as _, Result};

use crate::command;

/// Folders that hold no source of ours.
const NOT_OURS: [&str; 3] = ["target", ".cache", ".git"];
/// Code that `cargo xtask gen` writes.
const GENERATED: &str = "mesh-common/api/src/gen";

/// The workspace's root folder.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// The cargo that runs us, so that its children use the same toolchain.
pub(crate) fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// What setup builds and vm downloads; git ignores it.
pub(crate) fn cache() -> PathBuf {
    root().join(".cache")
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> Result<PathBuf> {
    let mut cargo = command::cargo(["metadata", "--format-version=1", "--no-deps"]);
    let metadata = command::output(&mut cargo).context("cargo metadata failed")?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let target = metadata
        .get("target_directory")
        .and_then(serde_json::Value::as_str);
    Ok(PathBuf::from(
        target.context("cargo metadata names no target folder")?,
    ))
}

/// Every file with this extension that somebody wrote, relative to the root, sorted.
pub(crate) fn hand_written(extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    walk(root(), extension, &mut found)?;
    let mut files = found
        .into_iter()
        .map(|path| Ok(path.strip_prefix(root())?.to_owned()))
        .collect::<Result<Vec<_>>>()?;
    files.retain(|path| !path.starts_with(GENERATED));
    files.sort();
    Ok(files)
}

fn walk(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let path = entry.path();
        // A link may lead out of the workspace or round in circles.
        if entry.file_type()?.is_dir() {
            if !NOT_OURS.iter().any(|name| entry.file_name() == *name) {
                walk(&path, extension, found)?;
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    Ok(())
}

/// The folder of each workspace member, relative to the root.
pub(crate) fn members() -> Result<Vec<PathBuf>> {
    let manifest = manifest(Path::new("."))?;
    let members = manifest
        .get("workspace")
        .and_then(|workspace| workspace.get("members"));
    let members = members
        .and_then(toml::Value::as_array)
        .context("Cargo.toml lists no workspace.members")?;
    Ok(members
        .iter()
        .filter_map(toml::Value::as_str)
        .map(PathBuf::from)
        .collect())
}

/// The Cargo.toml of a member.
pub(crate) fn manifest(member: &Path) -> Result<toml::Table> {
    let path = root().join(member).join("Cargo.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    text.parse()
        .with_context(|| format!("{} is no TOML", path.display()))
}

/// The package name of a member.
pub(crate) fn package_name(member: &Path) -> Result<String> {
    let manifest = manifest(member)?;
    let name = manifest
        .get("package")
        .and_then(|package| package.get("name")?.as_str());
    Ok(name
        .with_context(|| format!("{} has no package.name", member.display()))?
        .to_owned())
}

//! What of ours the kernel holds, as bpftool shows it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use mesh_harness::binaries;
use serde_json::Value;

/// Ids of kernel objects. The kernel counts them up, so none is used twice in a test's time.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Objects {
    /// Programs.
    pub programs: BTreeSet<u64>,
    /// Links.
    pub links: BTreeSet<u64>,
    /// Maps.
    pub maps: BTreeSet<u64>,
}

impl Objects {
    /// Everything that there is.
    pub fn all() -> Result<Self> {
        Ok(Self {
            programs: ids("prog")?,
            links: ids("link")?,
            maps: ids("map")?,
        })
    }

    /// Everything that the pins below a folder hold: links with their programs, and maps.
    pub fn pinned(folder: &Path) -> Result<Self> {
        let mut objects = Self::default();
        for pin in files(folder)? {
            let path = pin.display().to_string();
            if let Ok(link) = show("link", &["pinned", &path]) {
                objects.links.extend(link["id"].as_u64());
                objects.programs.extend(link["prog_id"].as_u64());
            } else if let Ok(map) = show("map", &["pinned", &path]) {
                objects.maps.extend(map["id"].as_u64());
            } else {
                let program =
                    show("prog", &["pinned", &path]).with_context(|| format!("what is pinned at {path}"))?;
                objects.programs.extend(program["id"].as_u64());
            }
        }
        Ok(objects)
    }

    /// Those of both.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        let both = |one: &BTreeSet<u64>, two: &BTreeSet<u64>| one.intersection(two).copied().collect();
        Self {
            programs: both(&self.programs, &other.programs),
            links: both(&self.links, &other.links),
            maps: both(&self.maps, &other.maps),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.programs.len() + self.links.len() + self.maps.len()
    }
}

/// Ids of the cgroups that have links pinned in a node's folder, and those that its map of workloads has.
pub fn enrolled_cgroups(pins: &Path) -> Result<(BTreeSet<u64>, BTreeSet<u64>)> {
    let all = files(pins)?;
    let folder_of = |pin: &PathBuf| pin.parent()?.file_name()?.to_str()?.parse::<u64>().ok();
    let linked = all.iter().filter_map(folder_of).collect();
    let entries = dump(&all, "WORKLOADS").with_context(|| format!("below {}", pins.display()))?;
    let key = |entry: &Value| -> Option<u64> {
        let bytes = entry["key"].as_array()?.iter();
        let bytes = bytes.map(|byte| u8::from_str_radix(byte.as_str()?.trim_start_matches("0x"), 16).ok());
        let bytes: Vec<u8> = bytes.collect::<Option<_>>()?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    };
    let keys = entries.iter();
    let keys = keys.map(|entry| key(entry).with_context(|| format!("no cgroup's id in {entry}")));
    Ok((linked, keys.collect::<Result<_>>()?))
}

/// How many entries a pinned map has.
pub fn entries(pins: &Path, map: &str) -> Result<usize> {
    dump(&files(pins)?, map)
        .map(|entries| entries.len())
        .with_context(|| format!("below {}", pins.display()))
}

fn dump(pins: &[PathBuf], name: &str) -> Result<Vec<Value>> {
    let map = pins.iter().find(|pin| pin.ends_with(format!("maps/{name}")));
    let map = map.with_context(|| format!("no map {name}"))?;
    let output = Command::new(binaries::theirs("bpftool")?)
        .args(["-j", "map", "dump", "pinned"])
        .arg(map)
        .output()
        .context("run bpftool")?;
    serde_json::from_slice(&output.stdout).with_context(|| format!("read bpftool's dump of {name}"))
}

/// The named network namespaces of a topology: others may be made and removed beside it.
pub fn namespaces_of(prefix: &str) -> Result<BTreeSet<String>> {
    let names = fs::read_dir("/run/netns").context("list /run/netns")?.flatten();
    Ok(names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(prefix))
        .collect())
}

fn ids(kind: &str) -> Result<BTreeSet<u64>> {
    let all = show(kind, &[])?;
    Ok(all
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|object| object["id"].as_u64())
        .collect())
}

fn show(kind: &str, arguments: &[&str]) -> Result<Value> {
    let mut command = Command::new(binaries::theirs("bpftool")?);
    let output = command
        .args(["-j", kind, "show"])
        .args(arguments)
        .output()
        .context("run bpftool")?;
    if !output.status.success() {
        anyhow::bail!(
            "bpftool {kind} show {arguments:?}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("read what bpftool says of {kind}s"))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

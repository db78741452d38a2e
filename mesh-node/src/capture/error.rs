//! What can go wrong with capture, said so that an operator knows what to do next.

use std::{io, path::PathBuf};

use super::probe::Probe;

/// Why capture failed.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The kernel or the environment lacks something.
    #[error("capture cannot work here: {}", describe(.0))]
    Unsupported(Vec<Probe>),
    /// A cgroup cannot be used.
    #[error("cgroup {}: cannot {action}: {source}; is it a directory of a cgroup2 file system?", path.display())]
    Cgroup {
        /// Its directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A pin, or the folder of pins, cannot be used.
    #[error(
        "{}: cannot {action}: {source}; capture.pin-directory must lie on a bpffs that this process may write",
        path.display()
    )]
    Pins {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another process uses the folder of pins.
    #[error(
        "{}: in use by another process; give each node its own capture.pin-directory, or stop the other one",
        path.display()
    )]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// A pinned map is not what this version expects.
    #[error(
        "{}: the pinned map is {found}, expected {expected}; stop the node that made it, then remove {}",
        path.display(), path.parent().unwrap_or(path).display()
    )]
    Layout {
        /// The pinned map.
        path: PathBuf,
        /// What it is.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// The kernel refused the programs.
    #[error(
        "cannot load the kernel program or map {name}: {source}; `mesh-node --check` says what the kernel lacks"
    )]
    Load {
        /// Program or map, or the whole object.
        name: String,
        /// What aya, the kernel and its verifier said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A program could not be attached.
    #[error(
        "cannot attach {hook} to cgroup {}: {source}; `bpftool cgroup show` lists what others attached there",
        path.display()
    )]
    Attach {
        /// The hook.
        hook: &'static str,
        /// The cgroup.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A map could not be read or written.
    #[error("kernel map {map}: cannot {action}: {source}")]
    Map {
        /// Name of the map.
        map: &'static str,
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

fn describe(probes: &[Probe]) -> String {
    let each: Vec<String> = probes
        .iter()
        .map(|p| format!("{}: {}; {}", p.name, p.found, p.advice))
        .collect();
    each.join(". ")
}

//! Finding a workload's processes: its cgroup's directory and its network namespace.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use mesh_model::{Attachment, NetworkMode};

use crate::net::namespace::Namespace;

/// Directories below a workload's cgroup that are searched for a process: a pod has a few containers.
const MAX_DIRECTORIES: usize = 64;

/// Why a workload can't be attached (yet).
#[derive(Debug, thiserror::Error)]
pub enum Waiting {
    /// Its cgroup does not exist.
    #[error("the cgroup {} does not exist yet; it comes with the workload's first process", .0.display())]
    Cgroup(PathBuf),
    /// Its cgroup has no process to tell the namespace by.
    #[error("no process in the cgroup {} yet, and the manifest names no networkNamespace", .0.display())]
    Process(PathBuf),
    /// The namespace's file can't be opened.
    #[error("cannot open the network namespace {}: {source}", path.display())]
    Namespace {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It should have a namespace of its own, and has the node's.
    #[error("its network namespace {} is the node's own; set hostNetwork: true if that is meant", .0.display())]
    HostNamespace(PathBuf),
}

/// Where a workload was found.
#[derive(Debug)]
pub struct Found {
    /// The cgroup's directory.
    pub cgroup: PathBuf,
    /// The directory's inode: another one after it was removed and made again.
    pub inode: u64,
    /// The namespace.
    pub namespace: Namespace,
}

/// Looks for the workload.
pub fn find(hierarchy: &Path, attachment: &Attachment, network: NetworkMode) -> Result<Found, Waiting> {
    let cgroup = hierarchy.join(&attachment.cgroup);
    let inode = inode(&cgroup).map_err(|_| Waiting::Cgroup(cgroup.clone()))?;
    let path = namespace_file(&cgroup, attachment, network)?;
    let namespace = Namespace::open(&path).map_err(|source| Waiting::Namespace {
        path: path.clone(),
        source,
    })?;
    if network == NetworkMode::Own && namespace.is_home() {
        return Err(Waiting::HostNamespace(path));
    }
    Ok(Found {
        cgroup,
        inode,
        namespace,
    })
}

/// A file that names the workload's namespace at this moment.
pub fn namespace_file(
    cgroup: &Path,
    attachment: &Attachment,
    network: NetworkMode,
) -> Result<PathBuf, Waiting> {
    match (network, &attachment.network_namespace) {
        (NetworkMode::Host, _) => Ok(PathBuf::from("/proc/thread-self/ns/net")),
        (NetworkMode::Own, Some(path)) => Ok(PathBuf::from(path)),
        (NetworkMode::Own, None) => first_process(cgroup)
            .map(|process| PathBuf::from(format!("/proc/{process}/ns/net")))
            .ok_or_else(|| Waiting::Process(cgroup.to_owned())),
    }
}

/// The inode of a cgroup's directory.
pub fn inode(cgroup: &Path) -> io::Result<u64> {
    fs::metadata(cgroup).map(|metadata| metadata.ino())
}

/// A process of the cgroup or of one below it.
fn first_process(cgroup: &Path) -> Option<u32> {
    let mut directories = vec![cgroup.to_owned()];
    let mut looked = 0;
    while let Some(directory) = directories.pop() {
        let processes = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
        if let Some(process) = processes.lines().find_map(|line| line.parse().ok()) {
            return Some(process);
        }
        looked += 1;
        if looked >= MAX_DIRECTORIES {
            return None;
        }
        let below = fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .filter_map(Result::ok);
        directories.extend(
            below
                .filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    None
}

//! Network namespaces: making a socket inside one, from any thread.
//!
//! A socket belongs to the namespace in which it was made, for good; it is used from every thread afterwards.
//! So a thread enters a namespace only for as long as it takes to make a socket, and never across an await.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::OnceLock;

use nix::sched::{CloneFlags, setns};
use nix::sys::stat::fstat;

use crate::capture;

/// A network namespace, held open: it exists at least as long as this.
#[derive(Debug)]
pub struct Namespace {
    file: OwnedFd,
    cookie: u64,
    device: u64,
    inode: u64,
    is_home: bool,
}

/// The namespace that the process started in, for coming back.
static HOME: OnceLock<OwnedFd> = OnceLock::new();

// === impl Namespace ===

impl Namespace {
    /// The namespace of the process: on a node, the host's.
    pub fn home() -> io::Result<Self> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// The namespace that a file names, such as `/run/netns/x` or `/proc/1/ns/net`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OwnedFd::from(File::open(path)?);
        let (device, inode) = identity(&file)?;
        let is_home = (device, inode) == identity(home()?)?;
        let mut namespace = Self {
            file,
            cookie: 0,
            device,
            inode,
            is_home,
        };
        let probe =
            namespace.enter(|| socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::DGRAM, None))?;
        namespace.cookie = capture::netns_cookie(probe.as_fd())?;
        Ok(namespace)
    }

    /// The kernel's name for the namespace, unique until the next boot (`SO_NETNS_COOKIE`).
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// Whether it is the namespace of the process itself.
    pub fn is_home(&self) -> bool {
        self.is_home
    }

    /// Whether a file names this namespace. An error when it is gone. Needs no file descriptor: that there is none
    /// left says nothing of the namespace.
    pub fn is_named_by(&self, path: &Path) -> io::Result<bool> {
        let metadata = fs::metadata(path)?;
        Ok((metadata.dev(), metadata.ino()) == (self.device, self.inode))
    }

    /// Runs `make` inside the namespace. It must not wait: it holds up whatever else this thread does.
    pub fn enter<T>(&self, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if self.is_home {
            return make();
        }
        let home = home()?;
        setns(&self.file, CloneFlags::CLONE_NEWNET)?;
        let made = make();
        if let Err(error) = setns(home, CloneFlags::CLONE_NEWNET) {
            // This thread would go on making other workloads' sockets in this workload's namespace.
            tracing::error!(%error, "cannot return from a workload's network namespace; aborting");
            std::process::abort();
        }
        made
    }
}

fn home() -> io::Result<&'static OwnedFd> {
    if let Some(home) = HOME.get() {
        return Ok(home);
    }
    // Only ever first called by a thread that has entered no other namespace: `enter` calls it before setns.
    let file = OwnedFd::from(File::open("/proc/thread-self/ns/net")?);
    Ok(HOME.get_or_init(|| file))
}

/// Device and inode.
fn identity(file: &OwnedFd) -> io::Result<(u64, u64)> {
    let status = fstat(file)?;
    Ok((status.st_dev, status.st_ino))
}

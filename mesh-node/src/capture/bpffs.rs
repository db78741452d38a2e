//! The folder of pins: what makes capture outlive the process.
//!
//! `<pin-directory>/v<layout version>/maps/<map>` and `.../links/<cgroup id>/<hook>`. One process at a time holds the
//! lock on the pin directory; the kernel releases it with the process. bpffs takes no dots in names.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use mesh_abi::LAYOUT_VERSION;
use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::error::CaptureError;

/// Where bpffs is mounted by convention (systemd does).
const CONVENTION: &str = "/sys/fs/bpf";
/// A process killed a moment ago holds its lock until the kernel has closed its descriptors: well under a second.
const LOCK_DEADLINE: Duration = Duration::from_secs(3);
/// Between two tries for the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The folder of pins, held by this process.
#[derive(Debug)]
pub(super) struct Pins {
    root: PathBuf,
    version: PathBuf,
    /// Holds the lock.
    _lock: File,
}

impl Pins {
    /// Mounts bpffs if need be, makes the folders and takes the lock.
    pub(super) fn open(root: &Path) -> Result<Self, CaptureError> {
        ensure_mounted(root)?;
        let lock = lock(root)?;
        let version = root.join(format!("v{LAYOUT_VERSION}"));
        let pins = Self {
            root: root.to_path_buf(),
            version,
            _lock: lock,
        };
        make(&pins.maps())?;
        make(&pins.links())?;
        Ok(pins)
    }

    /// Folder of the pinned maps.
    pub(super) fn maps(&self) -> PathBuf {
        self.version.join("maps")
    }

    /// Folder that holds a folder for each enrolled cgroup.
    pub(super) fn links(&self) -> PathBuf {
        self.version.join("links")
    }

    /// Removes the folders that versions with another layout left. Their programs refuse what ours capture and the other
    /// way round, so nothing leaves in clear while both are attached.
    pub(super) fn remove_other_versions(&self) -> Result<(), CaptureError> {
        for folder in list(&self.root)? {
            let name = folder
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            let is_version = name
                .strip_prefix('v')
                .is_some_and(|number| number.parse::<u32>().is_ok());
            if is_version && folder != self.version {
                fs::remove_dir_all(&folder).map_err(failed(&folder, "remove the pins of another version"))?;
            }
        }
        Ok(())
    }

    /// Removes maps and folders; the links must be gone. The pin directory itself goes when it is empty.
    pub(super) fn remove(self) -> Result<(), CaptureError> {
        fs::remove_dir_all(&self.version).map_err(failed(&self.version, "remove the pins"))?;
        match fs::remove_dir(&self.root) {
            // Not empty, or a mount point: then it is not ours alone.
            Err(e)
                if !matches!(
                    e.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::ResourceBusy
                ) =>
            {
                Err(failed(&self.root, "remove the folder")(e))
            }
            _ => Ok(()),
        }
    }
}

/// Whether the path, or its nearest ancestor that exists, lies on a bpffs.
pub(super) fn is_bpffs(path: &Path) -> io::Result<bool> {
    let existing = path
        .ancestors()
        .find(|ancestor| ancestor.exists())
        .unwrap_or(Path::new("/"));
    Ok(statfs(existing)?.filesystem_type() == BPF_FS_MAGIC)
}

/// Entries of a folder, in no order.
pub(super) fn list(folder: &Path) -> Result<Vec<PathBuf>, CaptureError> {
    let entries = fs::read_dir(folder).map_err(failed(folder, "list the folder"))?;
    entries
        .map(|entry| entry.map(|e| e.path()).map_err(failed(folder, "list the folder")))
        .collect()
}

/// Makes a folder and its parents, for the owner alone.
pub(super) fn make(folder: &Path) -> Result<(), CaptureError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed(folder, "create the folder"))
}

pub(super) fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> CaptureError {
    let path = path.to_path_buf();
    move |source| CaptureError::Pins { path, action, source }
}

/// Mounts bpffs at the conventional place when the path lies below it, else on the path itself. The mount stays: others
/// may use it by the time we leave.
fn ensure_mounted(root: &Path) -> Result<(), CaptureError> {
    if is_bpffs(root).map_err(failed(root, "find its file system"))? {
        return Ok(());
    }
    let at = if root.starts_with(CONVENTION) {
        Path::new(CONVENTION)
    } else {
        root
    };
    make(at)?;
    let none: Option<&str> = None;
    mount(
        Some("bpf"),
        at,
        Some("bpf"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        none,
    )
    .map_err(|errno| failed(at, "mount bpffs")(errno.into()))
}

/// Takes the lock on the folder. The former owner may remove the folder as it leaves: then it is made again.
fn lock(root: &Path) -> Result<File, CaptureError> {
    let deadline = Instant::now() + LOCK_DEADLINE;
    loop {
        make(root)?;
        let folder = File::open(root).map_err(failed(root, "open the folder"))?;
        match folder.try_lock() {
            Ok(()) if is_still(&folder, root) => return Ok(folder),
            Ok(()) | Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => return Err(failed(root, "lock the folder")(source)),
        }
        if Instant::now() >= deadline {
            return Err(CaptureError::Busy {
                path: root.to_path_buf(),
            });
        }
        thread::sleep(LOCK_PAUSE);
    }
}

fn is_still(folder: &File, path: &Path) -> bool {
    match (folder.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(there)) => held.ino() == there.ino() && held.dev() == there.dev(),
        _ => false,
    }
}

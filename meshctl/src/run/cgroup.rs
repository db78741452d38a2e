//! The workload's cgroup: made when it is missing, removed again when we made it and nothing is left in it.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

/// How often removal is tried: a process that has just ended leaves its cgroup a moment later.
const REMOVALS: u32 = 20;
/// Between two tries.
const REMOVAL_PAUSE: Duration = Duration::from_millis(10);

/// Why the cgroup cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CgroupError {
    /// Not a path that a manifest can mean.
    #[error("the node names '{}' as the cgroup, which is no absolute path without '..'; mend the manifest", .0.display())]
    Path(PathBuf),
    /// On another file system.
    #[error("{} is not on a cgroup2 file system; does meshctl see the same mounts as the node?", .0.display())]
    NotCgroup2(PathBuf),
    /// The kernel refused.
    #[error("cannot make the cgroup {}; run meshctl as root, or make it for this user", path.display())]
    Make {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// A cgroup that holds until it is dropped; whatever of it was made here is removed then.
#[derive(Debug)]
pub(super) struct Cgroup {
    /// The directories made, outermost first.
    made: Vec<PathBuf>,
}

// === impl Cgroup ===

impl Cgroup {
    /// Makes what is missing of the directory. With `keep`, what was made stays.
    pub(super) fn prepare(directory: PathBuf, keep: bool) -> Result<Self, CgroupError> {
        let is_plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
        if !directory.is_absolute() || !directory.components().all(is_plain) {
            return Err(CgroupError::Path(directory));
        }
        let missing: Vec<&Path> = directory.ancestors().take_while(|path| !path.exists()).collect();
        let existing = directory.ancestors().nth(missing.len()).unwrap_or(Path::new("/"));
        let kind = statfs(existing)
            .map_err(|errno| make_error(existing, errno.into()))?
            .filesystem_type();
        if kind != CGROUP2_SUPER_MAGIC {
            return Err(CgroupError::NotCgroup2(directory));
        }
        let mut cgroup = Self { made: Vec::new() };
        for path in missing.into_iter().rev() {
            match fs::create_dir(path) {
                Ok(()) => cgroup.made.push(path.to_path_buf()),
                // Somebody else was faster: then it is theirs.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(make_error(path, error)),
            }
        }
        if keep {
            cgroup.made.clear();
        }
        Ok(cgroup)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for path in self.made.iter().rev() {
            if let Err(error) = remove(path) {
                eprintln!(
                    "meshctl: the cgroup {} stays ({error}): processes of the program still run in it",
                    path.display()
                );
                return;
            }
        }
    }
}

fn make_error(path: &Path, source: io::Error) -> CgroupError {
    CgroupError::Make {
        path: path.to_path_buf(),
        source,
    }
}

/// Removes an empty cgroup; one that others have put something into is refused by the kernel.
fn remove(path: &Path) -> io::Result<()> {
    let mut tries = 1;
    loop {
        match fs::remove_dir(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ResourceBusy && tries < REMOVALS => {
                tries += 1;
                thread::sleep(REMOVAL_PAUSE);
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_paths_that_no_manifest_can_mean() {
        for path in ["relative", "/sys/fs/cgroup/../../etc"] {
            assert!(
                matches!(Cgroup::prepare(path.into(), false), Err(CgroupError::Path(_))),
                "{path}"
            );
        }
    }

    #[test]
    fn makes_nothing_outside_cgroup2() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("shop/web-1");
        let error = Cgroup::prepare(path.clone(), false).expect_err("an ordinary file system");
        assert!(matches!(error, CgroupError::NotCgroup2(_)), "{error}");
        assert!(!folder.path().join("shop").exists());
    }
}

//! The cgroup2 hierarchy: where it is mounted, which cgroup a path is, and the proxy's own cgroup.
//!
//! Works with the pure and the hybrid layout, and inside a cgroup namespace. Refuses cgroup v1.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::error::CaptureError;

/// A mounted cgroup2 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Which cgroup the mount shows at its top, `/` but for bind mounts.
    root: PathBuf,
}

/// The proxy's own cgroup while it captures.
#[derive(Debug)]
pub(super) struct ProxyCgroup {
    /// Its directory.
    pub(super) path: PathBuf,
    /// Where the process came from, when it was moved.
    came_from: Option<PathBuf>,
    /// Whether the directory was made for this purpose.
    made: bool,
}

impl Hierarchy {
    /// Finds it through `/proc/self/mountinfo`. `None`: cgroup2 is not mounted.
    pub fn find() -> io::Result<Option<Self>> {
        Ok(Self::parse(&fs::read_to_string("/proc/self/mountinfo")?))
    }

    /// proc_pid_mountinfo(5): `id parent major:minor root mount-point options... - type source super-options`.
    fn parse(mountinfo: &str) -> Option<Self> {
        let mut found: Vec<Self> = Vec::new();
        for line in mountinfo.lines() {
            let Some((head, tail)) = line.split_once(" - ") else {
                continue;
            };
            if tail.split(' ').next() != Some("cgroup2") {
                continue;
            }
            let mut fields = head.split(' ').skip(3);
            let (Some(root), Some(mount)) = (fields.next(), fields.next()) else {
                continue;
            };
            found.push(Self {
                mount: unescape(mount),
                root: unescape(root),
            });
        }
        let whole = found
            .iter()
            .position(|hierarchy| hierarchy.root == Path::new("/"));
        (!found.is_empty()).then(|| found.swap_remove(whole.unwrap_or(0)))
    }

    /// Directory of the cgroup that this process is in.
    pub fn own(&self) -> io::Result<PathBuf> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let path = own.lines().find_map(|line| line.strip_prefix("0::"));
        let path = path.ok_or_else(|| io::Error::other("/proc/self/cgroup names no cgroup2"))?;
        Ok(self.directory(Path::new(path)))
    }

    /// Directory of a cgroup given by its path within the hierarchy.
    pub fn directory(&self, path: &Path) -> PathBuf {
        let below = path
            .strip_prefix(&self.root)
            .or_else(|_| path.strip_prefix("/"))
            .unwrap_or(path);
        if below.as_os_str().is_empty() {
            self.mount.clone()
        } else {
            self.mount.join(below)
        }
    }
}

/// mountinfo writes space, tab, newline and backslash in octal.
fn unescape(field: &str) -> PathBuf {
    let mut text = field.to_owned();
    for (code, plain) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        text = text.replace(code, plain);
    }
    PathBuf::from(text)
}

/// Id of a cgroup: the inode number of its directory (kernfs, 64 bits), as the programs' helpers report it.
pub(super) fn id(directory: &Path) -> io::Result<u64> {
    fs::metadata(directory).map(|metadata| metadata.ino())
}

/// Whether this is the root of the whole hierarchy: only there `cgroup.type` is missing (cgroup-v2.rst).
fn is_root(directory: &Path) -> bool {
    !directory.join("cgroup.type").exists()
}

fn enter(directory: &Path) -> io::Result<()> {
    fs::write(directory.join("cgroup.procs"), std::process::id().to_string())
}

impl ProxyCgroup {
    /// Decides which cgroup is the proxy's and sees to it that the process is in it. Never the hierarchy's root, since a
    /// program attached there would run for every process: then a child is made.
    pub(super) fn prepare(
        hierarchy: &Hierarchy,
        wanted: Option<&Path>,
        node: &str,
    ) -> Result<Self, CaptureError> {
        let fail = |path: &Path, action| {
            let path = path.to_path_buf();
            move |source| CaptureError::Cgroup { path, action, source }
        };
        let own = hierarchy
            .own()
            .map_err(fail(&hierarchy.mount, "find the process's own"))?;
        let path = match wanted {
            Some(path) if path.starts_with(&hierarchy.mount) => path.to_path_buf(),
            Some(path) => hierarchy.directory(path),
            None if is_root(&own) => own.join(child_name(node)),
            None => own.clone(),
        };
        if is_root(&path) && path.exists() {
            let source = io::Error::other("it is the hierarchy's root");
            return Err(fail(&path, "attach to it")(source));
        }
        let existed = path.exists();
        if !existed {
            fs::create_dir(&path).map_err(fail(&path, "create it"))?;
        }
        let made = !existed || (wanted.is_none() && path != own);
        if own.starts_with(&path) {
            return Ok(Self {
                path,
                came_from: None,
                made,
            });
        }
        enter(&path).map_err(fail(&path, "move this process into it"))?;
        Ok(Self {
            path,
            came_from: Some(own),
            made,
        })
    }

    /// Puts the process back where it came from, and removes the directory if it was made for us.
    pub(super) fn leave(self) -> Result<(), CaptureError> {
        if let Some(came_from) = &self.came_from {
            enter(came_from).map_err(|source| CaptureError::Cgroup {
                path: came_from.clone(),
                action: "move this process back into it",
                source,
            })?;
        }
        if !self.made {
            return Ok(());
        }
        match fs::remove_dir(&self.path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(CaptureError::Cgroup {
                path: self.path,
                action: "remove it",
                source,
            }),
            _ => Ok(()),
        }
    }
}

/// Name of the proxy's cgroup below the root: the node's name, so that two nodes on one kernel stay apart.
fn child_name(node: &str) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '-'
        }
    };
    format!("nodemesh-proxy-{}", node.chars().map(safe).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
24 1 0:22 / / rw - ext4 /dev/vda rw
30 24 0:25 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:26 / /sys/fs/cgroup/memory rw shared:5 - cgroup cgroup rw,memory
32 30 0:27 / /sys/fs/cgroup/unified rw shared:6 master:1 - cgroup2 cgroup2 rw
";

    #[test]
    fn finds_the_hierarchy_in_a_hybrid_layout() {
        let hierarchy = Hierarchy::parse(HYBRID).unwrap();
        assert_eq!(hierarchy.mount, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(
            hierarchy.directory(Path::new("/")),
            Path::new("/sys/fs/cgroup/unified")
        );
        assert_eq!(
            hierarchy.directory(Path::new("/a/b")),
            Path::new("/sys/fs/cgroup/unified/a/b")
        );
        assert_eq!(
            hierarchy.directory(Path::new("a/b")),
            Path::new("/sys/fs/cgroup/unified/a/b")
        );
    }

    #[test]
    fn prefers_the_whole_hierarchy_to_a_bind_mount() {
        let text = "40 1 0:27 /pod /mnt/my\\040pod rw - cgroup2 cgroup2 rw\n\
                    41 1 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(Hierarchy::parse(text).unwrap().mount, Path::new("/sys/fs/cgroup"));
        let only = Hierarchy::parse(text.lines().next().unwrap()).unwrap();
        assert_eq!(only.mount, Path::new("/mnt/my pod"));
        assert_eq!(only.directory(Path::new("/pod/a")), Path::new("/mnt/my pod/a"));
    }

    #[test]
    fn reports_that_cgroup2_is_not_mounted() {
        assert_eq!(
            Hierarchy::parse("31 30 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"),
            None
        );
        assert_eq!(Hierarchy::parse("garbage"), None);
    }

    #[test]
    fn a_node_name_makes_a_safe_directory_name() {
        assert_eq!(child_name("node-a.example/x"), "nodemesh-proxy-node-a-example-x");
    }
}

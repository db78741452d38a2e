//! Where the kernel's own file systems are mounted, from /proc/self/mountinfo (proc_pid_mountinfo(5)).

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// The mount point of the cgroup v2 hierarchy: `/sys/fs/cgroup`, or in a hybrid layout `/sys/fs/cgroup/unified`.
pub fn cgroup2() -> Result<PathBuf> {
    find("cgroup2")?.context("no cgroup v2 hierarchy is mounted: mount -t cgroup2 none /sys/fs/cgroup")
}

/// The mount point of the BPF file system, which is mounted when it is not yet.
pub fn bpffs() -> Result<PathBuf> {
    if let Some(path) = find("bpf")? {
        return Ok(path);
    }
    let path = PathBuf::from("/sys/fs/bpf");
    nix::mount::mount(
        Some("bpf"),
        &path,
        Some("bpf"),
        nix::mount::MsFlags::MS_NOSUID | nix::mount::MsFlags::MS_NODEV,
        None::<&str>,
    )
    .with_context(|| format!("mount the BPF file system at {}", path.display()))?;
    Ok(path)
}

fn find(kind: &str) -> Result<Option<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    Ok(parse(&table, kind))
}

fn parse(table: &str, kind: &str) -> Option<PathBuf> {
    table.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mount_point = left.split(' ').nth(4)?;
        (right.split(' ').next()? == kind).then(|| PathBuf::from(mount_point.replace("\\040", " ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_unified_hierarchy_in_a_hybrid_layout() {
        let table = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
                     32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n\
                     41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        assert_eq!(
            parse(table, "cgroup2"),
            Some(PathBuf::from("/sys/fs/cgroup/unified"))
        );
        assert_eq!(parse(table, "bpf"), None);
    }
}

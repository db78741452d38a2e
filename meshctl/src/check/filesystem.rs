//! The file systems of the kernel that a node works with: cgroup2, whose directories the programs are attached to,
//! and bpffs, where they are pinned.

use std::path::Path;

use super::Finding;
use super::process::{Capabilities, Capability};
use crate::mountinfo::Mount;

/// Where bpffs is mounted by custom, systemd's and mesh-node's.
const BPFFS: &str = "/sys/fs/bpf";

pub(super) fn cgroup2(mounts: &[Mount]) -> Finding {
    const CHECK: &str = "cgroup2";
    let Some(mount) = mounts.iter().find(|mount| mount.kind == "cgroup2") else {
        return Finding::fail(
            CHECK,
            "not mounted (ip netns exec hides it: enter namespaces with nsenter --net)",
            "mount -t cgroup2 none /sys/fs/cgroup, or boot with systemd.unified_cgroup_hierarchy=1",
        );
    };
    let point = mount.point.display();
    if mount.is_read_only {
        return Finding::fail(
            CHECK,
            format!("{point} is mounted read-only"),
            format!(
                "mount -o remount,rw {point}; in a container, mount the host's cgroup file system writable"
            ),
        );
    }
    let layout = if mounts.iter().any(|mount| mount.kind == "cgroup") {
        "hybrid"
    } else {
        "pure"
    };
    Finding::ok(CHECK, format!("{point} ({layout})"))
}

pub(super) fn bpffs(mounts: &[Mount], filesystems: &str, capabilities: Capabilities) -> Finding {
    const CHECK: &str = "bpffs";
    let advice = format!("mount -t bpf bpf {BPFFS}");
    match mounts
        .iter()
        .rfind(|mount| mount.kind == "bpf" && !mount.is_read_only)
    {
        Some(mount) if mount.point == Path::new(BPFFS) => Finding::ok(CHECK, format!("mounted on {BPFFS}")),
        Some(mount) => {
            let point = mount.point.display();
            Finding::warn(
                CHECK,
                format!("mounted on {point}, not on {BPFFS}"),
                format!("{advice}, or set [capture] pin-directory = \"{point}/nodemesh\""),
            )
        }
        None if !filesystems
            .lines()
            .any(|line| line.split_whitespace().last() == Some("bpf")) =>
        {
            Finding::fail(
                CHECK,
                "the kernel does not know it",
                "boot a kernel with CONFIG_BPF_SYSCALL=y",
            )
        }
        None if capabilities.has(Capability::SysAdmin) => {
            Finding::ok(CHECK, "not mounted; mesh-node mounts it when it starts")
        }
        None => Finding::fail(
            CHECK,
            "not mounted, and this user cannot mount it",
            format!("as root: {advice}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Level;
    use crate::mountinfo;

    const HYBRID: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    fn all() -> Capabilities {
        Capabilities::parse("CapEff:\tffffffffffffffff\n")
    }

    #[test]
    fn finds_cgroup2_in_either_layout() {
        assert_eq!(
            cgroup2(&mountinfo::parse(HYBRID)).found,
            "/sys/fs/cgroup/unified (hybrid)"
        );
        let pure = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroup2(&mountinfo::parse(pure)).found, "/sys/fs/cgroup (pure)");
    }

    #[test]
    fn fails_without_a_writable_cgroup2() {
        assert_eq!(cgroup2(&[]).level, Level::Fail);
        let read_only = "30 23 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroup2(&mountinfo::parse(read_only)).level, Level::Fail);
    }

    #[test]
    fn tells_a_mounted_bpffs_from_one_that_could_be() {
        let mounted = mountinfo::parse("50 23 0:40 / /sys/fs/bpf rw - bpf bpf rw\n");
        let elsewhere = mountinfo::parse("50 23 0:40 / /mnt/bpf rw - bpf bpf rw\n");
        assert_eq!(bpffs(&mounted, "", all()).level, Level::Ok);
        assert!(
            bpffs(&elsewhere, "", all())
                .advice
                .expect("advice")
                .contains("/mnt/bpf/nodemesh")
        );
        assert_eq!(bpffs(&[], "nodev\tproc\n", all()).level, Level::Fail);
        let nobody = Capabilities::parse("CapEff:\t0000000000000000\n");
        assert_eq!(bpffs(&[], "nodev\tbpf\n", all()).level, Level::Ok);
        assert_eq!(bpffs(&[], "nodev\tbpf\n", nobody).level, Level::Fail);
    }
}

//! What the kernel and the environment offer, found out by trying, each with what to do when it is missing.

use std::{fs, path::Path};

use aya::{
    maps::MapType,
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported},
};

use super::{bpffs::is_bpffs, cgroup::Hierarchy};

/// Linux 5.15: the first with the namespace's cookie in sock_ops programs.
const OLDEST: (u32, u32) = (5, 15);
/// Capabilities (linux/capability.h) and their bits.
const CAPABILITIES: [(&str, u32); 3] = [("CAP_SYS_ADMIN", 21), ("CAP_NET_ADMIN", 12), ("CAP_BPF", 39)];

/// One thing that capture needs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Probe {
    /// What was looked at.
    pub name: &'static str,
    /// Whether it is as it must be.
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// What to do about it; empty when it is well.
    pub advice: String,
}

impl Probe {
    fn new(name: &'static str, ok: bool, found: impl Into<String>, advice: &str) -> Self {
        let advice = if ok { String::new() } else { advice.to_owned() };
        Self {
            name,
            ok,
            found: found.into(),
            advice,
        }
    }
}

/// Everything that capture needs; loads small programs and maps to try, leaves nothing behind.
pub fn run(pin_directory: &Path) -> Vec<Probe> {
    let mut probes = vec![kernel(), btf()];
    probes.extend(required(pin_directory));
    probes.extend([
        program("cgroup/connect programs", ProgramType::CgroupSockAddr),
        program("sock_ops programs", ProgramType::SockOps),
        helper(
            "namespace cookie in connect programs",
            ProgramType::CgroupSockAddr,
            BpfHelper::BPF_FUNC_get_netns_cookie,
        ),
        helper(
            "ancestor cgroup in connect programs",
            ProgramType::CgroupSockAddr,
            BpfHelper::BPF_FUNC_get_current_ancestor_cgroup_id,
        ),
        helper(
            "socket storage in connect programs",
            ProgramType::CgroupSockAddr,
            BpfHelper::BPF_FUNC_sk_storage_get,
        ),
        helper(
            "namespace cookie in sock_ops programs",
            ProgramType::SockOps,
            BpfHelper::BPF_FUNC_get_netns_cookie,
        ),
        helper(
            "socket storage in sock_ops programs",
            ProgramType::SockOps,
            BpfHelper::BPF_FUNC_sk_storage_get,
        ),
        map("hash maps with eviction", MapType::LruHash),
        map("prefix maps", MapType::LpmTrie),
        map("socket storage maps", MapType::SkStorage),
        map("ring buffers", MapType::RingBuf),
    ]);
    probes
}

/// What can be said for sure without loading anything; capture does not start without these.
pub(super) fn required(pin_directory: &Path) -> Vec<Probe> {
    vec![cgroup2(), bpffs(pin_directory), capabilities()]
}

fn kernel() -> Probe {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let new_enough = version(release).is_some_and(|version| version >= OLDEST);
    Probe::new(
        "kernel",
        new_enough,
        release,
        "use Linux 5.15 or later; 6.1, 6.12 and 6.18 are tested",
    )
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn btf() -> Probe {
    let path = "/sys/kernel/btf/vmlinux";
    let there = Path::new(path).exists();
    let found = if there { path } else { "missing" };
    Probe::new(
        "kernel types (BTF)",
        there,
        found,
        "boot a kernel built with CONFIG_DEBUG_INFO_BTF",
    )
}

fn cgroup2() -> Probe {
    let advice = "mount it: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified";
    match Hierarchy::find() {
        Ok(Some(hierarchy)) => Probe::new("cgroup2", true, hierarchy.mount.display().to_string(), ""),
        Ok(None) => Probe::new("cgroup2", false, "not mounted", advice),
        Err(error) => Probe::new(
            "cgroup2",
            false,
            format!("/proc/self/mountinfo: {error}"),
            "mount /proc",
        ),
    }
}

fn bpffs(pin_directory: &Path) -> Probe {
    let advice = "boot a kernel built with CONFIG_BPF_SYSCALL and CONFIG_CGROUP_BPF";
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let known = known
        .lines()
        .any(|line| line.split_whitespace().last() == Some("bpf"));
    let mounted = is_bpffs(pin_directory).unwrap_or(false);
    let found = match (mounted, known) {
        (true, _) => format!("mounted at {}", pin_directory.display()),
        (false, true) => "not mounted yet; done at start".to_owned(),
        (false, false) => "the kernel has none".to_owned(),
    };
    Probe::new("bpffs", mounted || known, found, advice)
}

fn capabilities() -> Probe {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = effective
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    let held: Vec<&str> = CAPABILITIES
        .iter()
        .filter(|(_, bit)| mask >> bit & 1 == 1)
        .map(|(name, _)| *name)
        .collect();
    // CAP_SYS_ADMIN implies what the other two permit, and setns and mount need it anyway.
    let found = if held.is_empty() {
        "none of those needed".to_owned()
    } else {
        held.join(" ")
    };
    let advice =
        "run as root, or with CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_BPF in the initial user namespace";
    Probe::new("capabilities", held.contains(&"CAP_SYS_ADMIN"), found, advice)
}

fn answer<E: std::fmt::Display>(name: &'static str, supported: Result<bool, E>) -> Probe {
    let advice = "use Linux 5.15 or later, with CONFIG_CGROUP_BPF and CONFIG_BPF_JIT; see dmesg";
    match supported {
        Ok(true) => Probe::new(name, true, "available", ""),
        Ok(false) => Probe::new(name, false, "the kernel has none", advice),
        Err(error) => Probe::new(name, false, format!("cannot be tried: {error}"), "run as root"),
    }
}

fn program(name: &'static str, kind: ProgramType) -> Probe {
    answer(name, is_program_supported(kind))
}

fn helper(name: &'static str, kind: ProgramType, helper: BpfHelper) -> Probe {
    answer(name, is_helper_supported(kind, helper))
}

fn map(name: &'static str, kind: MapType) -> Probe {
    answer(name, is_map_supported(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version_from_a_release() {
        assert_eq!(version("6.1.0-56-cloud-amd64"), Some((6, 1)));
        assert_eq!(version("5.15.0"), Some((5, 15)));
        assert_eq!(version("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(version(""), None);
        assert!(version("5.4.1") < Some(OLDEST));
    }

    #[test]
    fn advice_is_given_only_when_it_is_needed() {
        assert_eq!(Probe::new("x", true, "y", "do z").advice, "");
        assert_eq!(Probe::new("x", false, "y", "do z").advice, "do z");
    }
}

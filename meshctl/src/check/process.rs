//! What the user that meshctl runs as may do, which is what a node that runs as this user may.

use nix::sys::resource::{Resource, getrlimit};

use super::Finding;

/// Open files below which to warn: a plain connection takes two, its client's socket and its endpoint's.
const COMFORTABLE_OPEN_FILES: u64 = 65_536;

/// A capability by its bit (linux/capability.h).
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(super) enum Capability {
    NetAdmin = 12,
    SysPtrace = 19,
    SysAdmin = 21,
    Perfmon = 38,
    Bpf = 39,
}

/// The effective set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Capabilities(u64);

/// What a node needs, and what for (capabilities(7)).
const NEEDED: [(Capability, &str, &str); 5] = [
    (
        Capability::SysAdmin,
        "CAP_SYS_ADMIN",
        "enter network namespaces, mount bpffs",
    ),
    (
        Capability::NetAdmin,
        "CAP_NET_ADMIN",
        "attach programs to cgroups",
    ),
    (Capability::Bpf, "CAP_BPF", "load programs, make maps"),
    (
        Capability::Perfmon,
        "CAP_PERFMON",
        "run programs that read the kernel's structures",
    ),
    (
        Capability::SysPtrace,
        "CAP_SYS_PTRACE",
        "find the network namespace of other users' processes",
    ),
];

// === impl Capabilities ===

impl Capabilities {
    /// From the text of /proc/self/status; none when it has no such line.
    pub(super) fn parse(status: &str) -> Self {
        Self(
            field(status, "CapEff:")
                .and_then(|mask| u64::from_str_radix(mask, 16).ok())
                .unwrap_or_default(),
        )
    }

    /// Whether it is in the set, or implied by one that is.
    pub(super) fn has(self, capability: Capability) -> bool {
        let is_set = |one: Capability| self.0 & (1 << one as u8) != 0;
        // The bpf(2) system call takes CAP_SYS_ADMIN for each of the three.
        let is_implied = matches!(
            capability,
            Capability::Bpf | Capability::Perfmon | Capability::NetAdmin
        );
        is_set(capability) || is_implied && is_set(Capability::SysAdmin)
    }
}

pub(super) fn capabilities(own: Capabilities) -> Finding {
    const CHECK: &str = "capabilities";
    let missing = || NEEDED.iter().filter(|(one, ..)| !own.has(*one));
    if missing().next().is_none() {
        return Finding::ok(CHECK, NEEDED.map(|(_, name, _)| name).join(" "));
    }
    let found: Vec<String> = missing()
        .map(|(_, name, purpose)| format!("{name} ({purpose})"))
        .collect();
    let names: Vec<&str> = missing().map(|(_, name, _)| *name).collect();
    let found = format!("missing: {}", found.join(", "));
    let advice = format!(
        "run as root, or give the unit AmbientCapabilities={}",
        names.join(" ")
    );
    if missing().all(|(one, ..)| matches!(one, Capability::SysPtrace)) {
        Finding::warn(
            CHECK,
            found,
            advice + "; else name each networkNamespace in its manifest",
        )
    } else {
        Finding::fail(CHECK, found, advice)
    }
}

pub(super) fn user(status: &str) -> Finding {
    const CHECK: &str = "user";
    // Real, effective, saved, file system.
    match field(status, "Uid:").and_then(|line| line.split_whitespace().nth(1)) {
        Some("0") => Finding::ok(CHECK, "root"),
        Some(uid) => Finding::warn(
            CHECK,
            format!("uid {uid}: cgroups, bpffs and the state directory are usually root's"),
            "run as root, or give this user those directories",
        ),
        None => Finding::warn(
            CHECK,
            "unknown: /proc/self/status cannot be read",
            "mount procfs on /proc",
        ),
    }
}

pub(super) fn open_files() -> Finding {
    const CHECK: &str = "open files";
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, hard)) if hard >= COMFORTABLE_OPEN_FILES => Finding::ok(CHECK, format!("up to {hard}")),
        Ok((_, hard)) => Finding::warn(
            CHECK,
            format!("up to {hard}: enough for about {} connections at once", hard / 2),
            "raise the hard limit: LimitNOFILE=1048576 in the unit, or ulimit -n",
        ),
        Err(error) => Finding::warn(
            CHECK,
            format!("the limit cannot be read: {error}"),
            "look at ulimit -Hn",
        ),
    }
}

/// The rest of the line that begins with `name`, trimmed.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Level;

    #[test]
    fn names_the_capabilities_that_are_missing() {
        let own = |mask: &str| Capabilities::parse(&format!("Name:\tx\nCapEff:\t{mask}\n"));
        assert_eq!(capabilities(own("000001fffeffffff")).level, Level::Ok);
        let net_admin_alone = capabilities(own("0000000000001000"));
        assert_eq!(net_admin_alone.level, Level::Fail);
        assert!(
            net_admin_alone.found.contains("CAP_BPF") && !net_admin_alone.found.contains("CAP_NET_ADMIN")
        );
        let sys_admin_alone = capabilities(own("0000000000200000"));
        assert_eq!(sys_admin_alone.level, Level::Warn);
        assert!(
            sys_admin_alone.found.starts_with("missing: CAP_SYS_PTRACE (find"),
            "{sys_admin_alone:?}"
        );
        assert_eq!(capabilities(Capabilities::parse("")).level, Level::Fail);
    }

    #[test]
    fn looks_at_the_effective_user() {
        assert_eq!(user("Uid:\t1000\t0\t0\t0\n").level, Level::Ok);
        assert_eq!(user("Uid:\t0\t1000\t0\t0\n").level, Level::Warn);
        assert_eq!(user("").level, Level::Warn);
    }
}

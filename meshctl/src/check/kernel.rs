//! The kernel: its release, how it was configured, its type information, its compiler of programs.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;

use super::{Finding, read};

/// The oldest release on which the kernel programs are meant to load.
const OLDEST: (u32, u32) = (5, 15);
/// The releases that the tests boot.
const TESTED: [(u32, u32); 3] = [(6, 1), (6, 12), (6, 18)];
/// Where kernels keep their type information (Documentation/bpf/btf.rst).
const BTF: &str = "/sys/kernel/btf/vmlinux";
/// Largest configuration that is read: today's have about 300 KiB.
const MAX_CONFIGURATION: u64 = 4 * 1024 * 1024;

/// What the kernel programs and the namespaces need (each symbol's help text is in the kernel's Kconfig files).
const NEEDED: [&str; 6] = [
    "CONFIG_BPF_SYSCALL",
    "CONFIG_BPF_JIT",
    "CONFIG_CGROUP_BPF",
    "CONFIG_SOCK_CGROUP_DATA",
    "CONFIG_NET_NS",
    "CONFIG_INET",
];

pub(super) fn release(release: &str) -> Finding {
    const CHECK: &str = "kernel";
    let release = release.trim();
    let Some(version) = parse_release(release) else {
        return Finding::warn(
            CHECK,
            format!("release '{release}', of a form not known here"),
            "check that it is 5.15 or later: uname -r",
        );
    };
    if version < OLDEST {
        return Finding::fail(
            CHECK,
            release,
            "boot Linux 5.15 or later; 6.1, 6.12 and 6.18 are tested",
        );
    }
    if TESTED.contains(&version) {
        Finding::ok(CHECK, release)
    } else {
        Finding::ok(CHECK, format!("{release} (tested: 6.1, 6.12, 6.18)"))
    }
}

/// Findings from the kernel's configuration; none when it cannot be read, for then loading the programs will tell.
pub(super) fn configuration() -> Option<Finding> {
    let (path, text) = read_configuration()?;
    Some(judge_configuration(&path, &text))
}

pub(super) fn btf() -> Finding {
    const CHECK: &str = "BTF";
    if Path::new(BTF).exists() {
        Finding::ok(CHECK, BTF)
    } else {
        Finding::fail(
            CHECK,
            format!("{BTF} is missing"),
            "boot a kernel with CONFIG_DEBUG_INFO_BTF=y",
        )
    }
}

/// `setting` is the content of /proc/sys/net/core/bpf_jit_enable: 0 off, 1 on, 2 on with a trace.
pub(super) fn jit(setting: Option<&str>) -> Finding {
    const CHECK: &str = "BPF JIT";
    match setting.map(str::trim) {
        Some("1") => Finding::ok(CHECK, "on"),
        Some("2") => Finding::warn(
            CHECK,
            "on, with a trace in the kernel's log",
            "sysctl net.core.bpf_jit_enable=1",
        ),
        Some(_) => Finding::warn(
            CHECK,
            "off: every connect() is slower",
            "sysctl net.core.bpf_jit_enable=1",
        ),
        // Only the first network namespace shows it.
        None => Finding::warn(
            CHECK,
            "cannot be seen from this network namespace",
            "look at it from the host's: sysctl net.core.bpf_jit_enable",
        ),
    }
}

/// The leading `major.minor` of a release such as `6.1.0-37-amd64` or `5.15-rc1`.
fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The configuration as the kernel shows it, else as distributions install it.
fn read_configuration() -> Option<(String, String)> {
    let mut text = String::new();
    if let Ok(file) = File::open("/proc/config.gz")
        && GzDecoder::new(file)
            .take(MAX_CONFIGURATION)
            .read_to_string(&mut text)
            .is_ok()
    {
        return Some(("/proc/config.gz".to_owned(), text));
    }
    let path = format!("/boot/config-{}", read("/proc/sys/kernel/osrelease").trim());
    let text = read(&path);
    (!text.is_empty()).then_some((path, text))
}

fn judge_configuration(path: &str, text: &str) -> Finding {
    const CHECK: &str = "kernel config";
    let is_set = |symbol: &&str| text.lines().any(|line| line.strip_prefix(*symbol) == Some("=y"));
    let missing: Vec<&str> = NEEDED.into_iter().filter(|symbol| !is_set(symbol)).collect();
    if missing.is_empty() {
        Finding::ok(CHECK, format!("{path} has all that is needed"))
    } else {
        let missing = missing.join(", ");
        Finding::fail(
            CHECK,
            format!("{path} lacks {missing}"),
            format!("boot a kernel built with {missing}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Level;

    #[test]
    fn compares_releases_by_number() {
        for (text, level) in [
            ("6.18.44-fc-v669\n", Level::Ok),
            ("6.1.0-37-amd64", Level::Ok),
            ("5.15-rc1", Level::Ok),
            ("5.9.16", Level::Fail),
            ("4.19.0", Level::Fail),
            ("10.0.0", Level::Ok),
            ("", Level::Warn),
            ("six", Level::Warn),
        ] {
            assert_eq!(release(text).level, level, "{text}");
        }
        assert!(
            release("6.6.1").found.contains("tested"),
            "says when a release is not among the tested"
        );
    }

    #[test]
    fn names_what_the_configuration_lacks() {
        let all = NEEDED.map(|symbol| format!("{symbol}=y\n")).concat();
        assert_eq!(judge_configuration("c", &all).level, Level::Ok);
        let without = all.replace("CONFIG_CGROUP_BPF=y", "# CONFIG_CGROUP_BPF is not set");
        let finding = judge_configuration("c", &without);
        assert_eq!(finding.level, Level::Fail);
        assert_eq!(finding.found, "c lacks CONFIG_CGROUP_BPF");
        // CONFIG_BPF_JIT_ALWAYS_ON is another symbol than CONFIG_BPF_JIT.
        let other = all.replace("CONFIG_BPF_JIT=y", "CONFIG_BPF_JIT_ALWAYS_ON=y");
        assert_eq!(judge_configuration("c", &other).found, "c lacks CONFIG_BPF_JIT");
    }

    #[test]
    fn reads_the_jit_setting() {
        for (setting, level) in [
            (Some("1\n"), Level::Ok),
            (Some("2"), Level::Warn),
            (Some("0"), Level::Warn),
            (None, Level::Warn),
        ] {
            assert_eq!(jit(setting).level, level, "{setting:?}");
        }
    }
}

//! The mounts of this process, from /proc/self/mountinfo (proc(5)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Where it is mounted.
    pub(crate) point: PathBuf,
    /// The type of its file system, such as `cgroup2`.
    pub(crate) kind: String,
    /// Whether it can only be read.
    pub(crate) is_read_only: bool,
}

/// Reads the mounts in their order; lines of a form that proc(5) does not know are left out.
pub(crate) fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(parse_line).collect()
}

/// `36 35 98:0 /root /point rw,noatime optional… - kind source super-options`.
fn parse_line(line: &str) -> Option<Mount> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(4);
    let point = unescape(fields.next()?);
    let options = fields.next()?;
    let mut file_system = file_system.split(' ');
    let kind = file_system.next()?.to_owned();
    let super_options = file_system.nth(1).unwrap_or_default();
    let is_read_only = [options, super_options]
        .iter()
        .any(|options| options.split(',').any(|one| one == "ro"));
    Some(Mount {
        point,
        kind,
        is_read_only,
    })
}

/// Undoes the kernel's escapes: a backslash and three octal digits for space, tab, newline and backslash.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'\\'
            && let [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] = tail
        {
            bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
            rest = after;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_mounts_with_and_without_optional_fields() {
        let text = "\
23 1 0:20 / /sys rw,nosuid - sysfs sysfs rw
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:9 master:1 - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
42 31 0:39 / /mnt/with\\040space\\134 rw - bpf none ro,mode=700
";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 4);
        assert_eq!(mounts[1].kind, "cgroup");
        assert_eq!(mounts[2].point, PathBuf::from("/sys/fs/cgroup/unified"));
        assert!(!mounts[2].is_read_only);
        assert_eq!(mounts[3].point, PathBuf::from("/mnt/with space\\"));
        assert!(
            mounts[3].is_read_only,
            "a read-only file system under a writable mount"
        );
    }

    #[test]
    fn leaves_out_what_it_does_not_know() {
        assert_eq!(parse("nonsense\n1 2 3\n - \n36 35 98:0 / /p - x\n"), []);
        assert_eq!(unescape("a\\04"), PathBuf::from("a\\04"));
    }

    #[test]
    fn reads_this_machine() {
        let text = std::fs::read_to_string("/proc/self/mountinfo").expect("procfs");
        assert!(parse(&text).iter().any(|mount| mount.kind == "proc"));
    }
}

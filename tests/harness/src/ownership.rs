//! Who made what, and its removal, whatever becomes of the owner.
//!
//! Everything an owner makes carries its prefix. A record under /run, locked by the owner for as long as it lives,
//! says so; a guard process waits for the owner's end, normal or by SIGKILL, and removes everything. What even the
//! guard could not remove (the machine's power went, the guard was killed too) [`sweep`] removes later: records
//! whose lock is free have a dead owner. Nothing without a record is touched.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

use crate::{mounts, wait};

/// The records' folder: emptied by a reboot, as is all that they speak of.
const RECORDS: &str = "/run/nodemesh-harness";
/// How long the guard may take: 5 s for killed processes to go, and a few for namespaces with many sockets.
const REMOVAL: Duration = Duration::from_secs(30);
const GUARD: &str = include_str!("guard.sh");

/// The owner's hold on what it makes. Removes it all when dropped.
#[derive(Debug)]
pub struct Ownership {
    prefix: String,
    cgroup: PathBuf,
    pins: PathBuf,
    folder: PathBuf,
    record: PathBuf,
    guard: Child,
    /// Held, not used: the lock goes with the process.
    _lock: Flock<File>,
}

/// What a record says: enough to remove everything.
struct Record {
    prefix: String,
    cgroup: PathBuf,
    bpffs: PathBuf,
    folder: PathBuf,
}

impl Ownership {
    /// Removes what dead owners left, then claims a prefix for this process and starts the guard.
    pub fn claim() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        sweep()?;
        // Short, for interface names have 15 bytes and namespaces' names are read by people.
        let prefix = format!(
            "nm{}x{}",
            base36(std::process::id()),
            base36(COUNT.fetch_add(1, Ordering::Relaxed))
        );
        let record = Record {
            cgroup: mounts::cgroup2()?.join(&prefix),
            bpffs: mounts::bpffs()?,
            folder: std::env::temp_dir().join(format!("nodemesh-{prefix}")),
            prefix,
        };
        let (path, lock) = record.publish()?;
        let guard = record.start_guard(&path, Stdio::piped())?;
        fs::create_dir(&record.cgroup)
            .with_context(|| format!("make the cgroup {}", record.cgroup.display()))?;
        fs::create_dir(&record.folder)
            .with_context(|| format!("make the folder {}", record.folder.display()))?;
        Ok(Self {
            pins: record.bpffs,
            prefix: record.prefix,
            cgroup: record.cgroup,
            folder: record.folder,
            record: path,
            guard,
            _lock: lock,
        })
    }

    /// The prefix of every name.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The name of something of ours: of a network namespace, for example.
    pub fn name(&self, of: &str) -> String {
        format!("{}-{of}", self.prefix)
    }

    /// The root of our cgroups.
    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// A folder in the BPF file system, not made yet.
    pub fn pins(&self, of: &str) -> PathBuf {
        self.pins.join(self.name(of))
    }

    /// The temporary folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Ownership {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let ended = wait::until("the guard to remove the topology", REMOVAL, || {
            Ok(self.guard.try_wait()?)
        });
        if ended.is_err() || self.record.exists() {
            eprintln!(
                "harness: parts of {} may be left; `cargo xtask clean` removes them",
                self.prefix
            );
        }
    }
}

// === impl Record ===

impl Record {
    /// Writes the record and locks it before it gets its name, so that no sweep takes it for an orphan.
    fn publish(&self) -> Result<(PathBuf, Flock<File>)> {
        fs::create_dir_all(RECORDS).with_context(|| format!("make {RECORDS} (needs root)"))?;
        let draft = Path::new(RECORDS).join(format!(".{}", self.prefix));
        let path = Path::new(RECORDS).join(&self.prefix);
        let mut file = File::create(&draft).with_context(|| format!("make {}", draft.display()))?;
        for part in [&self.cgroup, &self.bpffs, &self.folder] {
            writeln!(file, "{}", part.display())?;
        }
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| errno)
            .with_context(|| format!("lock {}", draft.display()))?;
        fs::rename(&draft, &path).with_context(|| format!("make {}", path.display()))?;
        Ok((path, lock))
    }

    fn read(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let mut lines = text.lines().map(PathBuf::from);
        Some(Self {
            prefix: path.file_name()?.to_str()?.to_owned(),
            cgroup: lines.next()?,
            bpffs: lines.next()?,
            folder: lines.next()?,
        })
    }

    /// A session of its own: neither Ctrl-C in the terminal nor a kill of the owner's group reaches the guard.
    #[expect(
        unsafe_code,
        reason = "std has no stable way to start a process in a session of its own"
    )]
    fn start_guard(&self, record: &Path, stdin: Stdio) -> Result<Child> {
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "nodemesh-guard", &self.prefix]);
        command
            .args([&self.cgroup, &self.bpffs, &self.folder])
            .arg(record);
        command.stdin(stdin).stdout(Stdio::null()).stderr(Stdio::null());
        // SAFETY: setsid(2) is async-signal-safe (signal-safety(7)) and touches no memory of ours.
        unsafe { command.pre_exec(|| Ok(nix::unistd::setsid().map(drop)?)) };
        command.spawn().context("start the guard process (sh)")
    }
}

/// Removes what dead owners left; returns their prefixes. Live owners' things stay.
pub fn sweep() -> Result<Vec<String>> {
    let mut swept = Vec::new();
    let Ok(entries) = fs::read_dir(RECORDS) else {
        return Ok(swept);
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let Ok(file) = File::open(&path) else { continue };
        let Ok(_lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
            continue;
        };
        let Some(record) = Record::read(&path).filter(|record| !record.prefix.starts_with('.')) else {
            continue;
        };
        let mut guard = record.start_guard(&path, Stdio::null())?;
        wait::until("the removal of a dead owner's leftovers", REMOVAL, || {
            Ok(guard.try_wait()?)
        })?;
        swept.push(record.prefix);
    }
    Ok(swept)
}

fn base36(mut number: u32) -> String {
    let mut digits = Vec::new();
    loop {
        digits.extend(char::from_digit(number % 36, 36));
        number /= 36;
        if number == 0 {
            return digits.iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_in_base_36() {
        assert_eq!(
            (base36(0), base36(35), base36(36)),
            ("0".into(), "z".into(), "10".into())
        );
    }
}

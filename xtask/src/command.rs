//! Running other programs, and telling what runs and how long it took.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::workspace;

/// How often a program under a deadline is looked at.
const POLL: Duration = Duration::from_millis(50);
/// Where programs may be that are not on every user's PATH.
const MORE_FOLDERS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// Cargo, in the workspace's root.
pub(crate) fn cargo<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>) -> Command {
    let mut command = Command::new(workspace::cargo());
    command.current_dir(workspace::root()).args(arguments);
    command
}

/// Says that `what` starts, does it, and says how long it took.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("==> {what}");
    let start = Instant::now();
    let outcome = work();
    let verdict = if outcome.is_ok() { "done" } else { "FAILED" };
    eprintln!("    {what}: {verdict} after {}", seconds(start.elapsed()));
    outcome
}

/// A time for people.
pub(crate) fn seconds(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

/// Runs a program with our own input and output, and fails when it fails or `deadline` passes.
pub(crate) fn run(command: &mut Command, deadline: Duration) -> Result<()> {
    let shown = shown(command);
    std::io::stdout().flush()?;
    let mut child = command
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {shown}"))?;
    let end = Instant::now() + deadline;
    loop {
        if let Some(status) = child.try_wait()? {
            if status.success() {
                return Ok(());
            }
            bail!("{shown}: {status}");
        }
        if Instant::now() > end {
            kill_tree(&mut child)?;
            bail!("{shown}: killed, not done within {}", seconds(deadline));
        }
        thread::sleep(POLL);
    }
}

/// What a program prints, or nothing when it does not run or fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The path of a program: on PATH, in a system folder, or among PostgreSQL's servers.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(MORE_FOLDERS.map(PathBuf::from));
    if let Ok(versions) = fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    folders
        .into_iter()
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let words: Vec<_> = std::iter::once(program)
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    words.join(" ")
}

/// Kills a child and what it started. A process group of its own would do it too, but would hide Ctrl-C from it.
fn kill_tree(child: &mut Child) -> Result<()> {
    let mut tree = vec![i32::try_from(child.id())?];
    let mut next = 0;
    while let Some(parent) = tree.get(next).copied() {
        tree.extend(children(parent));
        next += 1;
    }
    for process in tree {
        // It may have ended by now.
        kill(Pid::from_raw(process), Signal::SIGKILL).ok();
    }
    child.wait()?;
    Ok(())
}

fn children(parent: i32) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{parent}/task"))
        .into_iter()
        .flatten()
        .flatten();
    threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_what_outlives_its_deadline() {
        let start = Instant::now();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 60; true"]);
        let error = run(&mut command, Duration::from_millis(300))
            .unwrap_err()
            .to_string();
        assert!(error.contains("killed"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn reports_a_failure_with_the_command() {
        let error = run(&mut Command::new("false"), Duration::from_secs(5))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("false: exit status: 1"), "{error}");
    }

    #[test]
    fn shows_times_for_people() {
        assert_eq!(seconds(Duration::from_millis(1_250)), "1.2 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 05 s");
    }
}

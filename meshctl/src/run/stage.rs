//! The stage: meshctl started again in the workload's place, stopped until capture stands, then the program.
//!
//! A process of its own rather than a fork in the middle of meshctl, so that no memory is shared and no code runs
//! between fork and exec. It stops by SIGSTOP, which the parent sees, and dies with its parent until the program
//! begins.

use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};

use anyhow::{Context, bail};
use clap::Parser;
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, Uid, User, initgroups, setgid, setuid};

use super::{REFUSED, Target, code_of_exec, shown, signals};
use crate::cli::RunArgs;

/// The name (its argument 0) under which meshctl is a stage.
pub(crate) const STAGE_NAME: &str = "meshctl-stage";

/// What the stage is told.
#[derive(Debug, Parser)]
#[command(name = STAGE_NAME)]
struct StageArgs {
    #[arg(long)]
    cgroup: PathBuf,
    #[arg(long)]
    network_namespace: Option<PathBuf>,
    #[arg(long)]
    user: Option<String>,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// The stage, seen from its parent. Killed when dropped before its end.
#[derive(Debug)]
pub(super) struct Stage {
    pid: Pid,
    is_staged: bool,
    has_ended: bool,
}

// === impl Stage ===

impl Stage {
    pub(super) fn start(target: &Target, arguments: &RunArgs) -> io::Result<Self> {
        // The running executable itself, even if its file has been replaced or removed.
        let mut command = Command::new("/proc/self/exe");
        command.arg0(STAGE_NAME).arg("--cgroup").arg(&target.cgroup);
        if let Some(namespace) = &target.network_namespace {
            command.arg("--network-namespace").arg(namespace);
        }
        if let Some(user) = &arguments.user {
            command.arg("--user").arg(user);
        }
        let child: Child = command.arg("--").args(&arguments.command).spawn()?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        Ok(Self {
            pid: Pid::from_raw(pid),
            is_staged: false,
            has_ended: false,
        })
    }

    /// Whether it is in its place and waits.
    pub(super) fn is_staged(&self) -> bool {
        self.is_staged
    }

    /// What has become of it since the last look; does not wait.
    pub(super) fn poll(&mut self) -> io::Result<Option<WaitStatus>> {
        match waitpid(self.pid, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED))? {
            WaitStatus::StillAlive => Ok(None),
            status => {
                self.is_staged |= matches!(status, WaitStatus::Stopped(..));
                self.has_ended = matches!(status, WaitStatus::Exited(..) | WaitStatus::Signaled(..));
                Ok(Some(status))
            }
        }
    }

    /// Lets it become the program.
    pub(super) fn go_on(&self) -> io::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match kill(self.pid, signal) {
            // Gone already; the next look tells how.
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.has_ended && kill(self.pid, Signal::SIGKILL).is_ok() {
            // SIGKILL ends even a stopped process at once, so this does not wait.
            self.has_ended = waitpid(self.pid, None).is_ok();
        }
    }
}

/// The stage itself: returns only when it could not become the program, with why already said.
pub(crate) fn stage() -> ExitCode {
    let arguments = StageArgs::parse();
    let program = arguments.command.first().cloned().unwrap_or_default();
    let failure = match prepare(&arguments) {
        Ok(mut command) => {
            let error = command.exec();
            eprintln!("meshctl: cannot run {}: {error}", shown(&program));
            code_of_exec(&error)
        }
        Err(error) => {
            eprintln!("meshctl: {error:#}");
            REFUSED
        }
    };
    ExitCode::from(failure)
}

/// Takes the workload's place, waits there, and gives the command to become.
fn prepare(arguments: &StageArgs) -> anyhow::Result<Command> {
    set_pdeathsig(Signal::SIGKILL).context("cannot tie the stage to meshctl")?;
    // Found before the cgroup is joined, so that a wrong name disturbs nothing.
    let user = arguments.user.as_deref().map(find_user).transpose()?;
    if let Some(path) = &arguments.network_namespace {
        enter_network_namespace(path)?;
    }
    join_cgroup(&arguments.cgroup)?;
    raise(Signal::SIGSTOP).context("cannot stop to wait for capture")?;

    let [program, rest @ ..] = arguments.command.as_slice() else {
        bail!("no program is named");
    };
    let mut command = Command::new(program);
    command.args(rest);
    if let Some(user) = user {
        become_user(&user)?;
        command
            .env("HOME", &user.dir)
            .env("USER", &user.name)
            .env("LOGNAME", &user.name);
    }
    // From here on the program lives its own life: it outlasts a meshctl that is killed.
    set_pdeathsig(None).context("cannot untie the stage from meshctl")?;
    signals::unblock().context("cannot unblock signals")?;
    Ok(command)
}

fn enter_network_namespace(path: &Path) -> anyhow::Result<()> {
    let file = File::open(path).with_context(|| {
        format!(
            "cannot open the network namespace {}; does it exist yet?",
            path.display()
        )
    })?;
    setns(file, CloneFlags::CLONE_NEWNET).with_context(|| {
        format!(
            "cannot enter the network namespace {}; run meshctl as root",
            path.display()
        )
    })
}

fn join_cgroup(directory: &Path) -> anyhow::Result<()> {
    // 0 is the process that writes (Documentation/admin-guide/cgroup-v2.rst).
    fs::write(directory.join("cgroup.procs"), "0").map_err(|error| {
        let advice = if error.kind() == ErrorKind::ResourceBusy {
            "it has children with controllers, so it takes no processes; give the workload a leaf"
        } else {
            "run meshctl as root"
        };
        anyhow::Error::new(error).context(format!(
            "cannot enter the cgroup {}; {advice}",
            directory.display()
        ))
    })
}

/// By name, else by number.
fn find_user(text: &str) -> anyhow::Result<User> {
    let mut user = User::from_name(text).context("cannot read the user database")?;
    if let (None, Ok(number)) = (&user, text.parse()) {
        user = User::from_uid(Uid::from_raw(number)).context("cannot read the user database")?;
    }
    user.with_context(|| format!("there is no user '{text}'; name one of /etc/passwd"))
}

/// Groups first: after the user is changed there is no right left to change them.
fn become_user(user: &User) -> anyhow::Result<()> {
    let context = || format!("cannot become the user {}; run meshctl as root", user.name);
    let name = CString::new(user.name.as_str()).with_context(context)?;
    initgroups(&name, user.gid).with_context(context)?;
    setgid(user.gid).with_context(context)?;
    setuid(user.uid).with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_users_by_name_and_by_number() {
        assert_eq!(find_user("root").expect("root").uid, Uid::from_raw(0));
        assert_eq!(find_user("0").expect("root").name, "root");
        let error = find_user("nobody-of-that-name").expect_err("unknown").to_string();
        assert!(error.contains("nobody-of-that-name"), "{error}");
    }

    #[test]
    fn says_where_the_namespace_should_be() {
        let error = enter_network_namespace(Path::new("/nonexistent/netns")).expect_err("missing");
        assert!(format!("{error:#}").contains("/nonexistent/netns"), "{error:#}");
    }
}

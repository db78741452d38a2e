//! Starts a program as a workload of the node, waits for its end, and leaves nothing behind.
//!
//! The program must be in the workload's cgroup, and there for the node to find its network namespace, before it
//! opens its first connection; and the node must have captured the cgroup by then. So meshctl starts itself again
//! as a *stage*, which enters the namespace and the cgroup and stops; once the node reports the workload as
//! captured, meshctl lets the stage go on, and it becomes the program.
//!
//! Invariant: the program's first instruction runs after capture, or never.

mod cgroup;
mod signals;
mod stage;
mod target;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

use crate::admin_client::{AdminClient, AdminError};
use crate::cli::RunArgs;
use cgroup::{Cgroup, CgroupError};
use signals::Signals;
use stage::Stage;
use target::{Target, TargetError};

pub(crate) use stage::{STAGE_NAME, stage};

/// The exit code when the program was not started; this one and the next two as env(1) and chroot(1) have them.
pub(crate) const REFUSED: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Between two looks at the node: short at first, for capture usually takes milliseconds.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Longest pause: /workloads of a large mesh is some megabytes.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Why the program was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The node gave no usable answer.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The program cannot be this workload here.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The cgroup cannot be used.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// A system call that only fails when the machine is out of something.
    #[error("cannot {action}")]
    System {
        action: &'static str,
        #[source]
        source: std::io::Error,
    },
    /// Not in time.
    #[error(
        "the node has not captured {name} within {wait:?}: {reason}; allow more with --wait, or look at meshctl status"
    )]
    NotCaptured {
        name: String,
        wait: Duration,
        reason: String,
    },
}

/// How waiting for capture ended, when not in an error.
enum Waited {
    Captured,
    /// The stage has failed and said why, or a signal asked to stop: exit with this.
    Over(u8),
}

/// `meshctl run`: the exit code is the program's.
pub(crate) fn run(arguments: &RunArgs, client: &AdminClient) -> Result<ExitCode, RunError> {
    let target = Target::find(
        client,
        &arguments.workload,
        arguments.network_namespace.as_deref(),
    )?;
    let deadline = Instant::now() + arguments.wait;
    wait_until_forgotten(arguments, client, &target.cgroup, deadline)?;
    // Before anything is made, so that no signal ends meshctl between making and removing.
    let signals = Signals::block().map_err(system("block signals"))?;
    // Dropped last: the cgroup can only be removed when the stage is gone.
    let _cgroup = Cgroup::prepare(target.cgroup.clone(), arguments.keep_cgroup)?;
    let mut stage = Stage::start(&target, arguments).map_err(system("start meshctl again"))?;
    match wait_until_captured(arguments, client, &signals, &mut stage, deadline)? {
        Waited::Over(code) => return Ok(ExitCode::from(code)),
        Waited::Captured => stage.go_on().map_err(system("let the program go on"))?,
    }
    supervise(&signals, &mut stage)
        .map(ExitCode::from)
        .map_err(system("wait for the program"))
}

/// Waits, while the cgroup is missing, until the node has noticed that: else its "captured" would still be about the
/// cgroup that was there before, and not about the one that is about to be made in its place.
fn wait_until_forgotten(
    arguments: &RunArgs,
    client: &AdminClient,
    cgroup: &Path,
    deadline: Instant,
) -> Result<(), RunError> {
    let mut pause = FIRST_PAUSE;
    while !cgroup.exists() {
        let workload = target::find_workload(client, &arguments.workload)?;
        if target::waits_for(workload.as_ref()).is_some() {
            return Ok(());
        }
        let reason = "it still holds on to a cgroup that is gone";
        pause = rest(arguments, pause, deadline, reason)?;
    }
    Ok(())
}

fn wait_until_captured(
    arguments: &RunArgs,
    client: &AdminClient,
    signals: &Signals,
    stage: &mut Stage,
    deadline: Instant,
) -> Result<Waited, RunError> {
    let mut pause = FIRST_PAUSE;
    loop {
        while let Some(incoming) = signals.next_if_any().map_err(system("read signals"))? {
            if incoming.signal != Signal::SIGCHLD {
                return Ok(Waited::Over(code_of_signal(incoming.signal)));
            }
        }
        if let Some(code) = stage
            .poll()
            .map_err(system("look at the stage"))?
            .and_then(exit_code)
        {
            return Ok(Waited::Over(code));
        }
        let reason = if stage.is_staged() {
            match target::find_workload(client, &arguments.workload) {
                Ok(workload) => match target::waits_for(workload.as_ref()) {
                    None => return Ok(Waited::Captured),
                    Some(reason) => reason,
                },
                // The node may just be restarting: there is time until the deadline.
                Err(error) => error.to_string(),
            }
        } else {
            "the program's place is not prepared yet".to_owned()
        };
        pause = rest(arguments, pause, deadline, &reason)?;
    }
}

/// Sleeps, and gives the next pause; fails when the deadline has passed.
fn rest(arguments: &RunArgs, pause: Duration, deadline: Instant, reason: &str) -> Result<Duration, RunError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(RunError::NotCaptured {
            name: arguments.workload.to_string(),
            wait: arguments.wait,
            reason: reason.to_owned(),
        });
    }
    thread::sleep(pause.min(left));
    Ok((pause * 2).min(LONGEST_PAUSE))
}

/// Passes signals on until the program has ended; gives the exit code.
fn supervise(signals: &Signals, stage: &mut Stage) -> std::io::Result<u8> {
    loop {
        if let Some(code) = stage.poll()?.and_then(exit_code) {
            return Ok(code);
        }
        let incoming = signals.next()?;
        // The terminal sends its signals to the program itself, which is of the same process group.
        if incoming.signal != Signal::SIGCHLD && !incoming.is_from_terminal {
            stage.signal(incoming.signal)?;
        }
    }
}

/// The exit code for an end; none for a mere stop.
fn exit_code(status: WaitStatus) -> Option<u8> {
    match status {
        // An exit status has 8 bits (exit(3)).
        WaitStatus::Exited(_, code) => Some(u8::try_from(code & 0xff).unwrap_or(REFUSED)),
        WaitStatus::Signaled(_, signal, _) => Some(code_of_signal(signal)),
        _ => None,
    }
}

/// 128 and the signal's number, as shells have it.
fn code_of_signal(signal: Signal) -> u8 {
    u8::try_from(signal as i32).map_or(REFUSED, |number| number.saturating_add(128))
}

/// The exit code when exec(3) fails.
fn code_of_exec(error: &std::io::Error) -> u8 {
    if error.kind() == std::io::ErrorKind::NotFound {
        NOT_FOUND
    } else {
        NOT_EXECUTABLE
    }
}

fn system<E: Into<std::io::Error>>(action: &'static str) -> impl FnOnce(E) -> RunError {
    move |source| RunError::System {
        action,
        source: source.into(),
    }
}

/// What a program is called in messages.
fn shown(program: &OsStr) -> String {
    program.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::Pid;

    #[test]
    fn exits_as_the_program_does() {
        let pid = Pid::from_raw(7);
        assert_eq!(exit_code(WaitStatus::Exited(pid, 3)), Some(3));
        assert_eq!(
            exit_code(WaitStatus::Signaled(pid, Signal::SIGTERM, false)),
            Some(143)
        );
        assert_eq!(exit_code(WaitStatus::Stopped(pid, Signal::SIGSTOP)), None);
    }

    #[test]
    fn tells_a_missing_program_from_one_that_cannot_run() {
        assert_eq!(code_of_exec(&std::io::ErrorKind::NotFound.into()), 127);
        assert_eq!(code_of_exec(&std::io::ErrorKind::PermissionDenied.into()), 126);
    }
}

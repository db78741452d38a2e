//! Signals as values: blocked for meshctl, read one after another, so that none arrives between two steps.

use std::io;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Signals that are passed on to the program.
const PASSED_ON: [Signal; 6] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// A signal that has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Incoming {
    pub(super) signal: Signal,
    /// Whether the kernel sent it (the terminal's keys, its hang-up) rather than a process.
    pub(super) is_from_terminal: bool,
}

/// Reads what [`Signals::block`] has blocked.
#[derive(Debug)]
pub(super) struct Signals {
    ready: SignalFd,
    blocking: SignalFd,
}

// === impl Signals ===

impl Signals {
    pub(super) fn block() -> io::Result<Self> {
        let set = set();
        set.thread_block()?;
        Ok(Self {
            ready: SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?,
            blocking: SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)?,
        })
    }

    /// The next signal, if one has arrived.
    pub(super) fn next_if_any(&self) -> io::Result<Option<Incoming>> {
        read(&self.ready)
    }

    /// Waits for the next signal. No deadline: it waits for a program that may run for years.
    pub(super) fn next(&self) -> io::Result<Incoming> {
        loop {
            if let Some(incoming) = read(&self.blocking)? {
                return Ok(incoming);
            }
        }
    }
}

/// Undoes [`Signals::block`] in a process that has inherited it: what waits is delivered now.
pub(super) fn unblock() -> io::Result<()> {
    Ok(set().thread_unblock()?)
}

fn set() -> SigSet {
    PASSED_ON.into_iter().chain([Signal::SIGCHLD]).collect()
}

fn read(descriptor: &SignalFd) -> io::Result<Option<Incoming>> {
    let Some(information) = descriptor.read_signal()? else {
        return Ok(None);
    };
    let number = i32::try_from(information.ssi_signo).map_err(io::Error::other)?;
    let signal = Signal::try_from(number)?;
    Ok(Some(Incoming {
        signal,
        is_from_terminal: information.ssi_code == libc::SI_KERNEL,
    }))
}

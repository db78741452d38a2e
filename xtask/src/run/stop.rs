//! Ctrl-C as a wish to stop, not as a death: what was made is taken down in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};

/// Set once somebody wants us to stop.
#[derive(Debug, Clone)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Takes SIGINT, SIGTERM and SIGHUP from here on. A second one ends the process at once; the harness' guard
    /// then cleans up.
    pub(super) fn listen() -> Result<Self> {
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            signals.add(signal);
        }
        // Before the thread, which inherits the mask: so that the signals come to its wait only.
        signals.thread_block().context("cannot hold back signals")?;
        let stop = Self(Arc::new(AtomicBool::new(false)));
        let flag = Arc::clone(&stop.0);
        thread::spawn(move || {
            while signals.wait().is_ok() {
                if flag.swap(true, Ordering::AcqRel) {
                    std::process::exit(130); // as a shell reports a death by SIGINT
                }
            }
        });
        Ok(stop)
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

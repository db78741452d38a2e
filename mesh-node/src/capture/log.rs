//! Brings what the kernel programs log into the process's own log. Runs only when `kernel-log` is on.
//!
//! One thread, which ends within [`POLL`] of being told to, and whose ring holds 128 KiB: what does not fit is lost.

use std::{
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use aya::Ebpf;
use aya_log::EbpfLogger;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::error::CaptureError;

/// How long the thread sleeps at most before it looks whether it should end.
const POLL: Duration = Duration::from_millis(200);

/// Hands records over to tracing.
struct Bridge;

/// The reading thread. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct LogReader {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl log::Log for Bridge {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let message = record.args();
        match record.level() {
            log::Level::Error => tracing::error!(target: "mesh_node::kernel", "{message}"),
            log::Level::Warn => tracing::warn!(target: "mesh_node::kernel", "{message}"),
            log::Level::Info => tracing::info!(target: "mesh_node::kernel", "{message}"),
            log::Level::Debug => tracing::debug!(target: "mesh_node::kernel", "{message}"),
            log::Level::Trace => tracing::trace!(target: "mesh_node::kernel", "{message}"),
        }
    }

    fn flush(&self) {}
}

impl LogReader {
    /// Starts reading. Every program must be loaded already: the reader takes the ring's map away from aya.
    pub(super) fn start(ebpf: &mut Ebpf) -> Result<Self, CaptureError> {
        let fail = |source: Box<dyn std::error::Error + Send + Sync>| CaptureError::Load {
            name: "AYA_LOGS".to_owned(),
            source,
        };
        let mut logger = EbpfLogger::init_with_logger(ebpf, Bridge).map_err(|e| fail(e.into()))?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let timeout = PollTimeout::try_from(POLL).map_err(|e| fail(e.to_string().into()))?;
        let read = move || {
            loop {
                let is_last = told.load(Ordering::Relaxed);
                logger.flush();
                if is_last {
                    break;
                }
                // An interrupted poll is as good as one that timed out.
                poll(&mut [PollFd::new(logger.as_fd(), PollFlags::POLLIN)], timeout).ok();
            }
        };
        let thread = thread::Builder::new().name("kernel-log".to_owned()).spawn(read);
        Ok(Self {
            stop,
            thread: Some(thread.map_err(|e| fail(e.into()))?),
        })
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            thread.join().ok();
        }
    }
}

//! What the rest of the node asks of a running capture, so that the data plane can be run, and measured, without one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::{Capture, CaptureError, Enrolment, Flow};

/// A running capture. [`Capture`] is the one that captures; measurements have another, which only says where connections
/// wanted to go.
pub trait Kernel: std::fmt::Debug + Send + Sync {
    /// As [`Capture::take_flow`].
    fn take_flow(&self, netns_cookie: u64, source: SocketAddr) -> Option<Flow>;
    /// As [`Capture::enrol`].
    fn enrol(&self, workload: &Enrolment) -> Result<(), CaptureError>;
    /// As [`Capture::release`].
    fn release(&self, cgroup: &Path) -> Result<(), CaptureError>;
    /// As [`Capture::retain`].
    fn retain(&self, cgroups: &[PathBuf]) -> Result<(), CaptureError>;
    /// As [`Capture::counters`].
    fn counters(&self) -> Result<Vec<(&'static str, u64)>, CaptureError>;
}

impl Kernel for Capture {
    fn take_flow(&self, netns_cookie: u64, source: SocketAddr) -> Option<Flow> {
        self.take_flow(netns_cookie, source)
    }

    fn enrol(&self, workload: &Enrolment) -> Result<(), CaptureError> {
        self.enrol(workload)
    }

    fn release(&self, cgroup: &Path) -> Result<(), CaptureError> {
        self.release(cgroup)
    }

    fn retain(&self, cgroups: &[PathBuf]) -> Result<(), CaptureError> {
        self.retain(cgroups)
    }

    fn counters(&self) -> Result<Vec<(&'static str, u64)>, CaptureError> {
        self.counters()
    }
}

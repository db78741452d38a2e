//! What is read at every scrape, from parts that metrics know nothing of.

use std::sync::Arc;
use std::time::Duration;

use crate::capture::Capture;
use crate::flow::context::Context;
use crate::resilience::{Backend, Backends};
use crate::telemetry::backends::{BackendReading, BackendReadings};
use crate::telemetry::readings::Readings;

/// The kernel programs' counters. Holds no part of the capture back from stopping.
pub(super) fn capture_counters(capture: &Arc<Capture>) -> Readings {
    let capture = Arc::downgrade(capture);
    let read = move || match capture.upgrade().map(|capture| capture.counters()) {
        Some(Ok(counters)) => counters,
        Some(Err(error)) => {
            tracing::warn!(%error, "cannot read the counters of the kernel programs");
            Vec::new()
        }
        None => Vec::new(),
    };
    Readings::new("capture", "What the kernel programs counted", Box::new(read))
}

/// What the access log had to leave out.
pub(super) fn lines_left_out(context: &Arc<Context>) -> Readings {
    let context = Arc::downgrade(context);
    let read = move || {
        let left_out = context.upgrade().map(|context| context.access_log.left_out());
        left_out
            .into_iter()
            .map(|lines| ("lines_left_out", lines))
            .collect()
    };
    Readings::new(
        "access_log",
        "Lines that the access log left out because standard error did not take them",
        Box::new(read),
    )
}

/// The backends that are in use. Who compiled a route may still hold one whose Service is gone.
pub(super) fn backends(backends: &Arc<Backends>) -> BackendReadings {
    let backends = Arc::clone(backends);
    BackendReadings::new(Box::new(move || {
        let all = backends.all();
        let is_told = |backend: &&Arc<Backend>| backend.exists() || backend.connections() > 0;
        all.iter().filter(is_told).map(reading).collect()
    }))
}

fn reading(backend: &Arc<Backend>) -> BackendReading {
    let (service, port) = backend.name();
    let mut reading = BackendReading {
        service: service.clone(),
        port,
        requests: backend.requests(),
        pending: backend.pending(),
        connections: backend.connections(),
        ready: 0,
        ejected: 0,
        not_ready: 0,
        ejections: backend.ejections(),
    };
    for endpoint in backend.endpoints() {
        let count = match endpoint.ejected_for {
            _ if !endpoint.is_ready => &mut reading.not_ready,
            None | Some(Duration::ZERO) => &mut reading.ready,
            Some(_) => &mut reading.ejected,
        };
        *count += 1;
    }
    reading
}

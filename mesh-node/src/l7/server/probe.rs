//! Probes an HTTP/2 client that says nothing, so that one which is gone without a word is noticed.

use std::task::{Context, Poll, ready};

use h2::{Ping, PingPong};
use tokio::time::Instant;

use crate::l7::guarded::Wait;
use crate::l7::limits::Limits;

/// Probes a client.
pub(super) struct Probe {
    pings: PingPong,
    limits: Limits,
    /// Since when it has said nothing, or been asked.
    wait: Wait<(Instant, bool)>,
    asked: Option<Instant>,
}

// === impl Probe ===

impl Probe {
    pub(super) fn new(pings: PingPong, limits: &Limits) -> Self {
        Self {
            pings,
            limits: *limits,
            wait: Wait::default(),
            asked: None,
        }
    }

    /// Ready when the client is gone. `heard` is when it last said anything.
    pub(super) fn poll(&mut self, heard: Instant, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(asked) = self.asked {
                // Anything it says will do.
                if heard < asked && self.pings.poll_pong(context).is_pending() {
                    return self.wait.poll((asked, true), self.limits.ping_timeout, context);
                }
                self.asked = None;
            }
            ready!(self.wait.poll((heard, false), self.limits.ping_interval, context));
            // Refused when another is on its way; then that one is waited for.
            drop(self.pings.send_ping(Ping::opaque()));
            self.asked = Some(Instant::now());
        }
    }
}

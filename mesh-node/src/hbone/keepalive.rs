//! HTTP/2 PING in both directions: a peer that does not answer in time is gone.

use std::future::poll_fn;
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{sleep, timeout};

/// How often and how long.
#[derive(Debug, Clone, Copy)]
pub struct Keepalive {
    /// Pause between an answer and the next probe.
    pub interval: Duration,
    /// Longest wait for an answer.
    pub timeout: Duration,
}

// === impl Keepalive ===

impl Keepalive {
    /// Probes until the peer fails to answer; returns then. The connection must be driven meanwhile.
    pub async fn watch(self, mut ping_pong: PingPong) {
        loop {
            sleep(self.interval).await;
            if ping_pong.send_ping(Ping::opaque()).is_err() {
                return;
            }
            match timeout(self.timeout, poll_fn(|context| ping_pong.poll_pong(context))).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }
}

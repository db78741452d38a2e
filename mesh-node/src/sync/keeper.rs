//! Writes the configuration to disk after it changed, for a restart while the control plane is away.
//!
//! A task of its own: the discovery stream neither waits for a disk nor loses what has yet to be written when it
//! breaks.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::cache::Cache;
use crate::state::Store;

/// A burst of changes is over when nothing came for this long.
const QUIET: Duration = Duration::from_millis(200);
/// A burst that goes on is written all the same: so much is lost at most.
const MAX_BURST: Duration = Duration::from_secs(2);
/// Pause after a failed attempt: a full disk is cleared by a person.
const RETRY: Duration = Duration::from_secs(10);

/// Owns the file.
#[derive(Debug)]
pub struct Keeper {
    /// What is kept.
    pub store: Arc<Store>,
    /// Where.
    pub cache: Cache,
}

// === impl Keeper ===

impl Keeper {
    /// Runs until it is dropped. Nothing is written before there is a whole configuration.
    pub async fn run(self, is_configured: impl Fn() -> bool) {
        let mut changes = self.store.watch();
        loop {
            if changes.changed().await.is_err() {
                return;
            }
            let end = Instant::now() + MAX_BURST;
            while timeout_at(end.min(Instant::now() + QUIET), changes.changed())
                .await
                .is_ok()
                && Instant::now() < end
            {}
            while !is_configured() {
                sleep(QUIET).await;
            }
            changes.mark_unchanged();
            while let Err(error) = self.keep().await {
                let path = self.cache.path().display();
                tracing::error!(%path, %error, retry_in = ?RETRY, "cannot keep the configuration for a restart; check the disk and node.state-directory");
                sleep(RETRY).await;
                changes.mark_unchanged();
            }
        }
    }

    async fn keep(&self) -> std::io::Result<()> {
        let (cache, snapshot) = (self.cache.clone(), Arc::clone(&self.store.load()));
        tokio::task::spawn_blocking(move || cache.store(&snapshot))
            .await
            .map_err(std::io::Error::other)?
    }
}

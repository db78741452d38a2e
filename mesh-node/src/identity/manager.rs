//! Keeps a valid certificate for every identity of the local workloads, and the trusted roots up to date.
//!
//! One task an identity: it gets the first certificate, renews it at half its life, at once when the signer
//! changes, and again with growing pauses when that fails; a certificate that still is valid stays in force
//! meanwhile.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mesh_model::{Identity, NodeName};
use mesh_runtime::backoff::Backoff;
use mesh_runtime::tasks::Tasks;
use rustls::crypto::CryptoProvider;
use tokio::task::AbortHandle;

use super::authority::Authority;
use super::vault::Vault;
use super::verify::Trust;
use super::{Material, Store as Identities, renewal};
use crate::state::Store;
use crate::telemetry::metrics::Metrics;

/// First and longest pause after a failed attempt (the longest is ztunnel's).
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(150);
/// Longest sleep before the clock is looked at again: it may have been set, or the machine suspended.
const MAX_SLEEP: Duration = Duration::from_secs(60);
/// Pause after a success, so that clocks far apart, or a trust bundle that lags behind the signer, make no storm.
const PAUSE: Duration = Duration::from_secs(1);

/// Owns the renewal of certificates.
#[derive(Debug)]
pub struct Manager {
    /// Which node's workloads count.
    pub node: NodeName,
    /// Says who they are.
    pub snapshot: Arc<Store>,
    /// Gets the certificates.
    pub identities: Arc<Identities>,
    /// Gets the roots.
    pub trust: Arc<Trust>,
    /// Signs.
    pub authority: Authority,
    /// Keeps certificates for a restart.
    pub vault: Vault,
    /// Counts attempts.
    pub metrics: Arc<Metrics>,
    /// For checking what the vault holds.
    pub provider: Arc<CryptoProvider>,
}

/// Seconds since 1970.
pub fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|elapsed| i64::try_from(elapsed.as_secs()).ok())
        .unwrap_or_default()
}

// === impl Manager ===

impl Manager {
    /// Puts in force what a former process left, as far as it is valid.
    pub fn restore(&self) {
        self.update_trust();
        for material in self.vault.load(&self.provider) {
            if renewal::is_valid(&material, unix_now()) {
                self.put_in_force(material);
            } else {
                self.vault.remove(&material.identity);
            }
        }
    }

    /// Runs until it is dropped.
    pub async fn run(self: Arc<Self>) {
        let tasks = Tasks::new();
        let mut maintained: HashMap<Identity, AbortHandle> = HashMap::new();
        let mut changes = self.snapshot.watch();
        loop {
            changes.borrow_and_update();
            self.update_trust();
            let wanted = self.wanted();
            maintained.retain(|identity, task| {
                let is_wanted = wanted.contains(identity);
                if !is_wanted {
                    task.abort();
                    self.forget(identity);
                }
                is_wanted
            });
            for stale in self
                .identities
                .all()
                .iter()
                .filter(|m| !wanted.contains(&m.identity))
            {
                self.forget(&stale.identity);
            }
            for identity in wanted {
                maintained
                    .entry(identity.clone())
                    .or_insert_with(|| tasks.spawn("certificate", Arc::clone(&self).maintain(identity)));
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn wanted(&self) -> BTreeSet<Identity> {
        let snapshot = self.snapshot.load();
        let local = snapshot
            .workloads()
            .filter(|w| w.node == self.node && w.is_enrolled());
        local.map(|w| w.identity.clone()).collect()
    }

    fn put_in_force(&self, material: Material) {
        self.metrics
            .certificate_in_force(material.identity.to_string(), material.not_after);
        self.identities.insert(material);
    }

    fn forget(&self, identity: &Identity) {
        self.metrics.certificate_gone(identity.to_string());
        self.identities.remove(identity);
        self.vault.remove(identity);
    }

    fn update_trust(&self) {
        if let Some(bundle) = self.snapshot.load().trust()
            && let Err(error) = self.trust.replace(bundle)
        {
            tracing::error!(%error, "the control plane sent roots that can't be used; the former stay in force");
        }
    }

    async fn maintain(self: Arc<Self>, identity: Identity) {
        let mut changes = self.snapshot.watch();
        let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX, 2);
        loop {
            let signer = self.snapshot.load().trust().map(|bundle| bundle.signer);
            let wait = match self.identities.get(&identity) {
                Some(material) => renewal::wait(&material, signer.as_ref(), unix_now()),
                None => Duration::ZERO,
            };
            if !wait.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(wait.min(MAX_SLEEP)) => {}
                    changed = changes.changed() => if changed.is_err() { return },
                }
                // Whatever woke this task may have changed when the renewal is due.
                continue;
            }
            match self.authority.sign(&identity).await {
                Ok(material) => {
                    backoff.reset();
                    self.metrics.certificate_obtained();
                    tracing::info!(%identity, serial = material.serial, not_after = material.not_after, "certificate obtained");
                    if let Err(error) = self.vault.save(&material) {
                        tracing::warn!(%identity, %error, "cannot keep the certificate for a restart");
                    }
                    self.put_in_force(material);
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    let pause = backoff.next_delay();
                    self.metrics.certificate_failed();
                    tracing::warn!(%identity, %error, retry_in = ?pause, "no certificate");
                    self.identities.fail(&identity, error.to_string());
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }
}

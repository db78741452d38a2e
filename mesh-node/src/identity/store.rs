//! The certificates in force, by identity: read by handshakes, replaced by the manager.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use mesh_model::Identity;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use super::Material;

/// How long a new connection waits for its identity's first certificate (ztunnel waits as long for a workload).
const FIRST_CERTIFICATE: Duration = Duration::from_secs(5);

/// There is no certificate for an identity.
#[derive(Debug, Clone, thiserror::Error)]
#[error("there is no valid certificate for {identity}: {reason}")]
pub struct IdentityUnavailable {
    /// Whose.
    pub identity: Identity,
    /// Why.
    pub reason: String,
}

/// Certificates by identity.
#[derive(Debug)]
pub struct Store {
    materials: ArcSwap<HashMap<Identity, Arc<Material>>>,
    failures: Mutex<BTreeMap<Identity, String>>,
    /// Counts replacements, so that those who wait look again.
    generation: watch::Sender<u64>,
}

// === impl Store ===

impl Store {
    /// Holds nothing yet.
    pub fn new() -> Self {
        Self {
            materials: ArcSwap::default(),
            failures: Mutex::default(),
            generation: watch::Sender::new(0),
        }
    }

    /// The certificate of an identity, if there is one.
    pub fn get(&self, identity: &Identity) -> Option<Arc<Material>> {
        self.materials.load().get(identity).cloned()
    }

    /// The certificate of an identity; waits a moment for the first.
    pub async fn wait(&self, identity: &Identity) -> Result<Arc<Material>, IdentityUnavailable> {
        if let Some(material) = self.get(identity) {
            return Ok(material);
        }
        let mut generation = self.generation.subscribe();
        let arrival = async {
            loop {
                if let Some(material) = self.get(identity) {
                    return Some(material);
                }
                generation.changed().await.ok()?;
            }
        };
        timeout(FIRST_CERTIFICATE, arrival)
            .await
            .ok()
            .flatten()
            .ok_or_else(|| IdentityUnavailable {
                identity: identity.clone(),
                reason: self
                    .failure(identity)
                    .unwrap_or_else(|| "the control plane has not signed one yet".to_owned()),
            })
    }

    /// Puts a certificate in force.
    pub fn insert(&self, material: Material) {
        let material = Arc::new(material);
        self.failures.lock().remove(&material.identity);
        self.materials.rcu(|current| {
            let mut next = HashMap::clone(current);
            next.insert(material.identity.clone(), Arc::clone(&material));
            next
        });
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// Forgets an identity: its key is wiped when the last handshake with it is over.
    pub fn remove(&self, identity: &Identity) {
        self.failures.lock().remove(identity);
        self.materials.rcu(|current| {
            let mut next = HashMap::clone(current);
            next.remove(identity);
            next
        });
    }

    /// Remembers why a certificate could not be had.
    pub fn fail(&self, identity: &Identity, reason: String) {
        self.failures.lock().insert(identity.clone(), reason);
    }

    /// Why the last attempt for an identity failed, if it did.
    pub fn failure(&self, identity: &Identity) -> Option<String> {
        self.failures.lock().get(identity).cloned()
    }

    /// Every certificate in force.
    pub fn all(&self) -> Vec<Arc<Material>> {
        self.materials.load().values().cloned().collect()
    }

    /// Identities for which the last attempt failed.
    pub fn failures(&self) -> BTreeMap<Identity, String> {
        self.failures.lock().clone()
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

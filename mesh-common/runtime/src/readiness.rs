//! Readiness: named conditions that must all be met, served for a supervisor's probe.
//!
//! A condition is unmet from the moment it is made, so a part that never starts shows as pending. Deciding what
//! the conditions mean is the binary's business.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use parking_lot::Mutex;

use crate::http_server::{Response, Router};

/// All conditions of the process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    conditions: Arc<Mutex<BTreeMap<&'static str, bool>>>,
}

/// One condition, to be met by the part that owns it.
#[derive(Debug, Clone)]
pub struct Condition {
    name: &'static str,
    readiness: Readiness,
}

impl Readiness {
    /// Ready, for want of conditions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition, unmet. Make all of them before the endpoint opens. A name that exists is the same
    /// condition, unmet again.
    pub fn condition(&self, name: &'static str) -> Condition {
        self.conditions.lock().insert(name, false);
        Condition {
            name,
            readiness: self.clone(),
        }
    }

    /// The names of the unmet conditions, sorted.
    pub fn pending(&self) -> Vec<&'static str> {
        self.conditions
            .lock()
            .iter()
            .filter(|(_, met)| !**met)
            .map(|(name, _)| *name)
            .collect()
    }

    /// Whether all conditions are met.
    pub fn is_ready(&self) -> bool {
        self.conditions.lock().values().all(|met| *met)
    }

    /// Adds `GET /healthz/ready`: 200, or 503 with the pending conditions, one a line.
    #[must_use]
    pub fn mount(self, router: Router) -> Router {
        router.get("/healthz/ready", move |_| std::future::ready(self.answer()))
    }

    fn answer(&self) -> Response {
        let pending = self.pending();
        if pending.is_empty() {
            Response::text(StatusCode::OK, "ready\n")
        } else {
            Response::text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("pending:\n{}\n", pending.join("\n")),
            )
        }
    }
}

impl Condition {
    /// The condition holds from now on.
    pub fn met(&self) {
        self.set(true);
    }

    /// The condition does not hold any more.
    pub fn unmet(&self) {
        self.set(false);
    }

    fn set(&self, met: bool) {
        let before = self.readiness.conditions.lock().insert(self.name, met);
        if before != Some(met) {
            tracing::info!(
                condition = self.name,
                met,
                ready = self.readiness.is_ready(),
                "readiness"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ready_when_all_conditions_are_met() {
        let readiness = Readiness::new();
        let capture = readiness.condition("capture");
        let snapshot = readiness.condition("snapshot");
        assert_eq!(readiness.pending(), ["capture", "snapshot"]);

        capture.met();
        let answer = readiness.answer();
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.body, "pending:\nsnapshot\n");

        snapshot.met();
        assert!(readiness.is_ready());
        assert_eq!(readiness.answer().status, StatusCode::OK);

        capture.unmet();
        assert_eq!(readiness.pending(), ["capture"]);
    }
}

//! Takes loads of the source into the world, or refuses them whole, and tells about their problems.

use std::path::Path;
use std::sync::Arc;

use mesh_model::TrustDomain;
use mesh_runtime::readiness::Condition;
use tokio::sync::mpsc;

use super::board::{Board, MAX_SHOWN};
use crate::source::{self, Load};
use crate::telemetry::Metrics;
use crate::world::{self, Joined, Problem, Severity, Store};

/// Takes loads until there are no more.
pub(super) struct Loader {
    pub(super) trust_domain: TrustDomain,
    pub(super) store: Arc<Store>,
    pub(super) board: Board,
    pub(super) metrics: Metrics,
    pub(super) loaded: Condition,
}

/// Reads and joins a folder once, for `check`: all problems, errors first.
pub fn check(folder: &Path, trust_domain: &TrustDomain) -> Vec<Problem> {
    judge(source::read(folder), trust_domain).problems
}

// === impl Loader ===

impl Loader {
    pub(super) async fn run(self, mut loads: mpsc::Receiver<Load>) {
        while let Some(load) = loads.recv().await {
            let trust_domain = self.trust_domain.clone();
            // Joining 50,000 workloads takes some hundred milliseconds.
            let Ok(joined) = tokio::task::spawn_blocking(move || judge(load, &trust_domain)).await else {
                return;
            };
            self.take(joined);
        }
    }

    fn take(&self, joined: Joined) {
        let is_usable = joined.is_usable();
        for severity in Severity::ALL {
            let count = joined
                .problems
                .iter()
                .filter(|problem| problem.severity == severity)
                .count();
            self.metrics.set_problems(severity.label(), count);
        }
        for problem in joined.problems.iter().take(MAX_SHOWN) {
            match problem.severity {
                Severity::Error => tracing::error!("{problem}"),
                Severity::Warning => tracing::warn!("{problem}"),
                Severity::Note => tracing::info!("{problem}"),
            }
        }
        self.board.show(is_usable, joined.problems, &joined.statuses);
        if !is_usable {
            tracing::error!("the manifests have errors; nothing changes until they are mended");
            return;
        }
        let resources = joined.resources;
        self.metrics.set_resources("workload", resources.workloads.len());
        self.metrics.set_resources("service", resources.services.len());
        let endpoints = resources.endpoints.values().map(|set| set.endpoints.len()).sum();
        self.metrics.set_resources("endpoint", endpoints);
        self.metrics.set_resources("route", joined.statuses.routes.len());
        self.metrics
            .set_resources("policy", joined.statuses.policies.len());
        let (workloads, services) = (resources.workloads.len(), resources.services.len());
        let diff = self.store.replace(resources);
        tracing::info!(
            workloads,
            services,
            changes = diff.changes.len(),
            "the manifests are in force"
        );
        self.loaded.met();
    }
}

/// Joins a load. A load that has an error by itself is not usable, however its rest joins.
fn judge(load: Load, trust_domain: &TrustDomain) -> Joined {
    let mut joined = world::join(&load.inputs, trust_domain);
    let mut problems = load.problems;
    problems.append(&mut joined.problems);
    // Stable: within a severity they stay in the order of the files.
    problems.sort_by_key(|problem| problem.severity);
    Joined { problems, ..joined }
}

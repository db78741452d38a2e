//! Metrics of what is gone go, after a while: decides what is gone, by the snapshot, and how often that is looked at.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_model::{ResourceName, RouteRules, RuleName, Snapshot};
use tokio::time::MissedTickBehavior;

use crate::flow::context::Context;
use crate::telemetry::requests::Living;

/// Looks so often while a retention passes: a series stays for up to a tenth longer.
const LOOKS: u32 = 10;
/// But not more often than this, however short the retention.
const LEAST_PAUSE: Duration = Duration::from_millis(100);
/// Nor less often.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What is in a snapshot.
struct Present {
    snapshot: Arc<Snapshot>,
    /// Collected when it is first asked for, which is seldom.
    rules: OnceCell<HashSet<RuleName>>,
}

/// Runs for as long as the node.
pub(super) async fn run(context: Arc<Context>, retention: Duration) {
    let pause = (retention / LOOKS).clamp(LEAST_PAUSE, LONGEST_PAUSE);
    let mut clock = tokio::time::interval(pause);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let started = Instant::now();
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    loop {
        clock.tick().await;
        let present = Present {
            snapshot: Arc::clone(&context.store.load()),
            rules: OnceCell::new(),
        };
        let (now, retention) = (millis(started.elapsed()), millis(retention));
        let removed = context.requests.sweep(now, retention, &present)
            + context.connections.sweep(now, retention, &present);
        if removed > 0 {
            tracing::debug!(removed, "series of what is gone expired");
        }
    }
}

// === impl Present ===

impl Living for Present {
    fn workload(&self, name: &ResourceName) -> bool {
        self.snapshot.workload(name).is_some()
    }

    fn service(&self, name: &ResourceName) -> bool {
        self.snapshot.service(name).is_some()
    }

    fn rule(&self, name: &RuleName) -> bool {
        self.rules.get_or_init(|| rules(&self.snapshot)).contains(name)
    }
}

/// The names of all rules.
fn rules(snapshot: &Snapshot) -> HashSet<RuleName> {
    let mut names = HashSet::new();
    let groups = snapshot.all_routes().flat_map(|routes| &routes.groups);
    for group in groups {
        match &group.rules {
            RouteRules::Http(rules) | RouteRules::Grpc(rules) => {
                names.extend(rules.iter().map(|rule| (*rule.name).clone()));
            }
            RouteRules::Tls(rules) => names.extend(rules.iter().map(|rule| (*rule.name).clone())),
            RouteRules::Tcp(rules) => names.extend(rules.iter().map(|rule| (*rule.name).clone())),
        }
    }
    names
}

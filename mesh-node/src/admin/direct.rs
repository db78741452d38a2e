//! What goes past the proxy, and why other things do not.

use std::sync::atomic::Ordering;

use mesh_api::admin::{DirectPair, DirectStatus};

use super::Admin;

impl Admin {
    pub(super) fn direct(&self) -> DirectStatus {
        let view = self.context.direct.view();
        let pairs = view.pairs.iter().map(|pair| DirectPair {
            workload: pair.workload.to_string(),
            destination: pair.asked,
            service: pair.service.as_ref().map(ToString::to_string),
            endpoints: pair.endpoints.clone(),
            withheld: pair.withheld.clone(),
            open_connections: pair.open.load(Ordering::Relaxed),
        });
        DirectStatus {
            off: view.off.clone(),
            pairs: pairs.collect(),
        }
    }
}

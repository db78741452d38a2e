//! That cgroups tell workloads apart: on one node none is shared, and none lies within another's.
//!
//! Programs attached to a cgroup also run for its children, so a workload below another's cgroup would be captured
//! twice, as both.

use std::collections::BTreeMap;

use crate::world::{Report, Sourced, Workload};

/// Reports workloads whose cgroup another one of the same node has, or has a parent of.
pub(super) fn check(workloads: &[&Sourced<Workload>], report: &mut Report) {
    let mut taken: BTreeMap<(&str, &str), &Sourced<Workload>> = BTreeMap::new();
    for workload in workloads {
        let Some(cgroup) = &workload.value.cgroup else {
            continue;
        };
        let node = workload.value.node.as_str();
        if let Some(other) = taken.get(&(node, cgroup.as_str())) {
            let message = format!(
                "cgroup {cgroup} of node {node} also belongs to {} at {}",
                other.origin.resource,
                other.origin.place()
            );
            report.error(
                &workload.origin,
                "spec.cgroup",
                message,
                "give each workload a cgroup of its own",
            );
            continue;
        }
        taken.insert((node, cgroup), workload);
    }
    for ((node, cgroup), workload) in &taken {
        let parents = cgroup.match_indices('/').filter_map(|(end, _)| cgroup.get(..end));
        for parent in parents {
            if let Some(other) = taken.get(&(*node, parent)) {
                let message = format!(
                    "cgroup {cgroup} of node {node} lies within {parent}, which belongs to {} at {}",
                    other.origin.resource,
                    other.origin.place()
                );
                let remedy = "put the workloads into cgroups beside each other";
                report.error(&workload.origin, "spec.cgroup", message, remedy);
            }
        }
    }
}

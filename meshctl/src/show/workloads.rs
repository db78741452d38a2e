//! Workloads, and what the node does for its own.

use mesh_api::admin::WorkloadStatus;

use super::{joined, yes};
use crate::table::Column::{Left, Right};
use crate::table::Table;

pub(super) fn workload_table(workloads: &[WorkloadStatus]) -> String {
    let mut table = Table::new([
        Left("NAME"),
        Left("NODE"),
        Left("IDENTITY"),
        Left("ADDRESSES"),
        Left("NETWORK"),
        Left("MESH"),
        Left("STATE"),
        Right("CONNECTIONS"),
    ]);
    for workload in workloads {
        let local = workload.local.as_ref();
        let state = local.map(|local| match (&local.waiting_for, local.is_captured) {
            (_, true) => "captured".to_owned(),
            (Some(reason), false) => format!("waits: {reason}"),
            (None, false) => "not captured".to_owned(),
        });
        table.push([
            workload.name.clone(),
            workload.node.clone(),
            workload.identity.clone(),
            joined(&workload.addresses),
            if workload.is_host_network { "host" } else { "own" }.to_owned(),
            yes(workload.is_enrolled),
            state.unwrap_or_default(),
            local
                .map(|local| local.open_connections.to_string())
                .unwrap_or_default(),
        ]);
    }
    table.render("No workloads.")
}

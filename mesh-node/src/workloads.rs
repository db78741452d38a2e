//! The workloads of this node: found as their cgroups come, enrolled, and released as they go.

pub mod attachment;
pub mod listeners;
pub mod manager;

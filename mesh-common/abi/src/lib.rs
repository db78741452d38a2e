//! The contract between the kernel programs (mesh-ebpf) and user space (mesh-node): map names, keys, values and
//! sizes. Every type has a fixed layout without implicit padding, because the kernel compares keys as bytes.
//!
//! Invariants: addresses are 16 bytes in network order, IPv4 in its v4-mapped form (RFC 4291 §2.5.5.2); ports are in
//! network order. The byte-order traps of each hook's context are dealt with here and nowhere else.
//! A change of any layout needs a new [`LAYOUT_VERSION`]: pinned maps outlive the process that made them.
//! Refuses: allocation, I/O, anything that is not data.
#![no_std]
#![expect(
    clippy::inline_always,
    reason = "a call between functions of a kernel program costs verification and stack"
)]

mod address;
mod counter;
mod direct;
mod flow;
mod layout;
mod workload;

pub use address::{Address, CidrKey, NetPort};
pub use counter::Counter;
pub use direct::{DirectFlow, Grant, GrantEndpoint, GrantKey, MAX_ENDPOINTS, PICKS};
pub use flow::{FlowKey, FlowValue, Original, ProxyFlowKey};
pub use layout::{LAYOUT_VERSION, MAPS, MapKind, MapLayout, map, program};
pub use workload::{MAX_CGROUP_DEPTH, MAX_WORKLOADS, Settings, WorkloadEntry};

#[cfg(feature = "user")]
mod user;

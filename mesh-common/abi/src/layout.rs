//! The maps and programs by name, and what each map must look like. User space checks a pinned map against
//! [`MAPS`] before it reuses it.

use core::mem::size_of;

use crate::{
    Address, CidrKey, Counter, DirectFlow, FlowKey, FlowValue, Grant, GrantKey, MAX_WORKLOADS, NetPort,
    Original, ProxyFlowKey, Settings, WorkloadEntry,
};

/// Version of everything in this crate that outlives a process: name of the folder of pins is `v<this>`.
pub const LAYOUT_VERSION: u32 = 2;

/// Names of the maps. The kernel keeps 15 characters of a name.
pub mod map {
    /// Enrolled workloads. HASH, cgroup id -> [`WorkloadEntry`](crate::WorkloadEntry).
    /// Writer: the node. Reader: connect hooks. Full: enrolment fails with an error.
    pub const WORKLOADS: &str = "WORKLOADS";
    /// The mesh's ports and the node's generation. ARRAY of one [`Settings`](crate::Settings).
    /// Writer: the node. Reader: connect hooks. Unset: every connect is refused.
    pub const SETTINGS: &str = "SETTINGS";
    /// Destination ports that pass. HASH, port -> 1.
    /// Writer: the node. Reader: connect hooks. Full: the node refuses to start.
    pub const EXCLUDED_PORTS: &str = "EXCLUDED_PORTS";
    /// Destination networks that pass. LPM_TRIE, [`CidrKey`](crate::CidrKey) -> 1.
    /// Writer: the node. Reader: connect hooks. Full: the node refuses to start.
    pub const EXCLUDED_NETS: &str = "EXCLUDED_NETS";
    /// Original destination of each captured socket. SK_STORAGE -> [`Original`](crate::Original).
    /// Writer: connect hooks. Readers: sock_ops, getpeername. Freed with the socket. No memory: connect is refused.
    pub const ORIGINALS: &str = "ORIGINALS";
    /// Captured connections not yet accepted. LRU_HASH, [`FlowKey`](crate::FlowKey) -> [`FlowValue`](crate::FlowValue).
    /// Writer: sock_ops of workloads, before the SYN. Reader: the node, which takes the entry at accept.
    /// Full: the oldest goes, and its connection is closed by the proxy.
    pub const FLOWS: &str = "FLOWS";
    /// The proxy's own connections. LRU_HASH, [`ProxyFlowKey`](crate::ProxyFlowKey) -> 1.
    /// Writer: sock_ops of the proxy, from connect to close. Reader: the node. Full: the oldest goes.
    pub const PROXY_FLOWS: &str = "PROXY_FLOWS";
    /// Counters. PERCPU_ARRAY of u64, indexed by [`Counter`](crate::Counter).
    /// Writer: every program. Reader: the node, for metrics.
    pub const COUNTERS: &str = "COUNTERS";
    /// Where workloads may connect to without the proxy. HASH, [`GrantKey`](crate::GrantKey) -> [`Grant`](crate::Grant).
    /// Writer: the node. Reader: connect hooks. Full: what is not in it goes to the proxy.
    pub const GRANTS: &str = "GRANTS";
    /// Connections past the proxy. HASH, socket cookie -> [`DirectFlow`](crate::DirectFlow).
    /// Writers: connect hooks and sock_ops of workloads, from connect to close. Reader: the node.
    /// Full: further ones go to the proxy.
    pub const DIRECT: &str = "DIRECT";
    /// What becomes of connections past the proxy. RINGBUF of [`DirectFlow`](crate::DirectFlow).
    /// Writer: sock_ops of workloads. Reader: the node. Full: the entry stays in DIRECT, where the node finds it.
    pub const DIRECT_EVENTS: &str = "DIRECT_EVENTS";
}

/// Names of the programs: hook and purpose.
pub mod program {
    /// `cgroup/connect4` of workloads.
    pub const CONNECT4: &str = "connect4_redirect";
    /// `cgroup/connect6` of workloads.
    pub const CONNECT6: &str = "connect6_redirect";
    /// `cgroup/getpeername4` of workloads.
    pub const GETPEERNAME4: &str = "getpeername4_restore";
    /// `cgroup/getpeername6` of workloads.
    pub const GETPEERNAME6: &str = "getpeername6_restore";
    /// `sock_ops` of workloads.
    pub const SOCKOPS_WORKLOAD: &str = "sockops_workload";
    /// `sock_ops` of the proxy.
    pub const SOCKOPS_PROXY: &str = "sockops_proxy";
    /// Every program.
    pub const ALL: [&str; 6] = [
        CONNECT4,
        CONNECT6,
        GETPEERNAME4,
        GETPEERNAME6,
        SOCKOPS_WORKLOAD,
        SOCKOPS_PROXY,
    ];
}

/// Type of a map, as the kernel numbers it (`enum bpf_map_type` in include/uapi/linux/bpf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MapKind {
    /// `BPF_MAP_TYPE_HASH`
    Hash = 1,
    /// `BPF_MAP_TYPE_ARRAY`
    Array = 2,
    /// `BPF_MAP_TYPE_PERCPU_ARRAY`
    PerCpuArray = 6,
    /// `BPF_MAP_TYPE_LRU_HASH`
    LruHash = 9,
    /// `BPF_MAP_TYPE_LPM_TRIE`
    LpmTrie = 11,
    /// `BPF_MAP_TYPE_SK_STORAGE`
    SkStorage = 24,
    /// `BPF_MAP_TYPE_RINGBUF`
    RingBuf = 27,
}

/// What a map must look like; sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapLayout {
    /// One of [`map`]'s names.
    pub name: &'static str,
    /// Type.
    pub kind: MapKind,
    /// Size of a key.
    pub key_size: u32,
    /// Size of a value.
    pub value_size: u32,
    /// Number of entries; 0 where the kernel sets no bound; of a ring, bytes.
    pub max_entries: u32,
}

impl MapLayout {
    /// Entries of [`map::EXCLUDED_PORTS`]: more would be a misuse of exclusion.
    pub const MAX_PORTS: u32 = 1024;
    /// Entries of [`map::EXCLUDED_NETS`].
    pub const MAX_NETS: u32 = 1024;
    /// Entries of [`map::FLOWS`]: they live from connect to accept, so the sum of all listen queues bounds them
    /// (4096 by default for each listener).
    pub const MAX_FLOWS: u32 = 65_536;
    /// Entries of [`map::PROXY_FLOWS`]: more than a process has open files by default.
    pub const MAX_PROXY_FLOWS: u32 = 65_536;
    /// Entries of [`map::GRANTS`]: pairs of workload and destination that talk to each other within one node.
    pub const MAX_GRANTS: u32 = 4096;
    /// Entries of [`map::DIRECT`].
    pub const MAX_DIRECT: u32 = 65_536;
    /// Bytes of [`map::DIRECT_EVENTS`]: some 7,500 events, of which a connection has two and the node takes in what there
    /// are every tenth of a second.
    pub const EVENT_BYTES: u32 = 1 << 20;
}

#[expect(clippy::cast_possible_truncation, reason = "sizes of a few bytes")]
const fn layout<K, V>(name: &'static str, kind: MapKind, max_entries: u32) -> MapLayout {
    MapLayout {
        name,
        kind,
        key_size: size_of::<K>() as u32,
        value_size: size_of::<V>() as u32,
        max_entries,
    }
}

/// Every map that is pinned.
pub const MAPS: [MapLayout; 11] = [
    layout::<u64, WorkloadEntry>(map::WORKLOADS, MapKind::Hash, MAX_WORKLOADS),
    layout::<u32, Settings>(map::SETTINGS, MapKind::Array, 1),
    layout::<NetPort, u8>(map::EXCLUDED_PORTS, MapKind::Hash, MapLayout::MAX_PORTS),
    layout::<CidrKey, u8>(map::EXCLUDED_NETS, MapKind::LpmTrie, MapLayout::MAX_NETS),
    layout::<i32, Original>(map::ORIGINALS, MapKind::SkStorage, 0),
    layout::<FlowKey, FlowValue>(map::FLOWS, MapKind::LruHash, MapLayout::MAX_FLOWS),
    layout::<ProxyFlowKey, u32>(map::PROXY_FLOWS, MapKind::LruHash, MapLayout::MAX_PROXY_FLOWS),
    layout::<u32, u64>(map::COUNTERS, MapKind::PerCpuArray, Counter::SLOTS),
    layout::<GrantKey, Grant>(map::GRANTS, MapKind::Hash, MapLayout::MAX_GRANTS),
    layout::<u64, DirectFlow>(map::DIRECT, MapKind::Hash, MapLayout::MAX_DIRECT),
    layout::<(), ()>(map::DIRECT_EVENTS, MapKind::RingBuf, MapLayout::EVENT_BYTES),
];

const _: () = assert!(size_of::<Address>() == 16 && size_of::<CidrKey>() == 20 && size_of::<NetPort>() == 2);

#[cfg(test)]
mod tests {
    use core::mem::{align_of, offset_of};

    use super::*;

    #[test]
    fn names_fit_the_kernel() {
        for layout in MAPS {
            assert!(layout.name.len() <= 15, "{}", layout.name);
        }
    }

    #[test]
    fn sizes_are_those_of_layout_two() {
        // A change here means a new LAYOUT_VERSION.
        assert_eq!(LAYOUT_VERSION, 2);
        let sizes = MAPS.map(|layout| (layout.key_size, layout.value_size));
        assert_eq!(
            sizes,
            [
                (8, 48),
                (4, 24),
                (2, 1),
                (20, 1),
                (4, 40),
                (32, 28),
                (48, 4),
                (4, 8),
                (32, 652),
                (8, 128),
                (0, 0)
            ]
        );
        assert_eq!((align_of::<Address>(), align_of::<CidrKey>()), (4, 4));
        assert_eq!(offset_of!(CidrKey, address), 4);
    }
}

//! The maps. Their writers, readers, sizes and what happens when they are full: see `mesh_abi::map`.

use aya_ebpf::{
    btf_maps::SkStorage,
    macros::{btf_map, map},
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf},
};
use mesh_abi::{
    Address, Counter, DirectFlow, FlowKey, FlowValue, Grant, GrantKey, MAX_WORKLOADS, MapLayout, NetPort,
    Original, ProxyFlowKey, Settings, WorkloadEntry,
};

/// `BPF_F_NO_PREALLOC`: memory for the entries there are, and not for the most there may be.
const AS_NEEDED: u32 = 1;

#[map]
pub static WORKLOADS: HashMap<u64, WorkloadEntry> = HashMap::with_max_entries(MAX_WORKLOADS, 0);

#[map]
pub static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);

#[map]
pub static EXCLUDED_PORTS: HashMap<NetPort, u8> = HashMap::with_max_entries(MapLayout::MAX_PORTS, 0);

#[map]
pub static EXCLUDED_NETS: LpmTrie<Address, u8> = LpmTrie::with_max_entries(MapLayout::MAX_NETS, 0);

#[btf_map]
pub static ORIGINALS: SkStorage<Original> = SkStorage::new();

#[map]
pub static FLOWS: LruHashMap<FlowKey, FlowValue> = LruHashMap::with_max_entries(MapLayout::MAX_FLOWS, 0);

#[map]
pub static PROXY_FLOWS: LruHashMap<ProxyFlowKey, u32> =
    LruHashMap::with_max_entries(MapLayout::MAX_PROXY_FLOWS, 0);

#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counter::SLOTS, 0);

#[map]
pub static GRANTS: HashMap<GrantKey, Grant> = HashMap::with_max_entries(MapLayout::MAX_GRANTS, AS_NEEDED);

#[map]
pub static DIRECT: HashMap<u64, DirectFlow> = HashMap::with_max_entries(MapLayout::MAX_DIRECT, AS_NEEDED);

#[map]
pub static DIRECT_EVENTS: RingBuf = RingBuf::with_byte_size(MapLayout::EVENT_BYTES, 0);

/// Adds one. Nothing else runs on this CPU's slot meanwhile but another of our programs at worst, and a lost
/// count harms nobody.
#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the lookup gave a live slot of this CPU.
        unsafe { *value += 1 };
    }
}

//! What the node tells the kernel programs: the enrolled workloads and the mesh's ports.

use crate::{Address, NetPort};

/// Depth of the cgroup tree, below its root, in which an enrolled cgroup is looked for. Kubernetes with systemd
/// nests about six levels; the walk ends at the process's own level, so a larger bound costs nothing.
pub const MAX_CGROUP_DEPTH: i32 = 16;

/// Workloads of one node; a Kubernetes node has 110 pods by default and 500 at the very most.
pub const MAX_WORKLOADS: u32 = 4096;

/// One enrolled workload, keyed by the id of its cgroup.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkloadEntry {
    /// Cookie of its network namespace: a socket of another one is refused.
    pub netns_cookie: u64,
    /// Address of the proxy's listener for IPv4, v4-mapped.
    pub v4: Address,
    /// Address of the proxy's listener for IPv6.
    pub v6: Address,
    /// Number by which the node knows the workload.
    pub slot: u32,
    /// [`Settings::generation`] when the entry was written.
    pub generation: u32,
}

/// What holds for every workload. All zero until the node has written it: then every connection is refused.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Counts the starts of the node on these maps.
    pub generation: u32,
    /// Where captured connections go.
    pub outbound: NetPort,
    /// Where inbound plaintext is taken.
    pub inbound: NetPort,
    /// Where HBONE is taken.
    pub hbone: NetPort,
    /// Always zero.
    pub pad: [u16; 3],
    /// Until when grants are in force, in ns of CLOCK_MONOTONIC. The node renews it all the time, so that what it granted
    /// ends soon after it.
    pub direct_until: u64,
}

impl Settings {
    /// Whether the port is one of the mesh's own, which no workload may connect to.
    #[inline(always)]
    #[must_use]
    pub fn is_mesh_port(&self, port: NetPort) -> bool {
        port == self.outbound || port == self.inbound || port == self.hbone
    }

    /// Whether the node has written them.
    #[inline(always)]
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.outbound != NetPort::default()
    }
}

#[cfg(test)]
mod tests {
    use core::mem::{align_of, offset_of, size_of};

    use super::*;

    #[test]
    fn layout_has_no_padding() {
        assert_eq!((size_of::<WorkloadEntry>(), align_of::<WorkloadEntry>()), (48, 8));
        assert_eq!(offset_of!(WorkloadEntry, v4), 8);
        assert_eq!(offset_of!(WorkloadEntry, v6), 24);
        assert_eq!(offset_of!(WorkloadEntry, slot), 40);
        assert_eq!(offset_of!(WorkloadEntry, generation), 44);

        assert_eq!((size_of::<Settings>(), align_of::<Settings>()), (24, 8));
        assert_eq!(offset_of!(Settings, outbound), 4);
        assert_eq!(offset_of!(Settings, inbound), 6);
        assert_eq!(offset_of!(Settings, hbone), 8);
        assert_eq!(offset_of!(Settings, pad), 10);
        assert_eq!(offset_of!(Settings, direct_until), 16);
    }

    #[test]
    fn knows_its_own_ports() {
        let settings = Settings {
            generation: 1,
            outbound: NetPort::from_host(15001),
            inbound: NetPort::from_host(15006),
            hbone: NetPort::from_host(15008),
            pad: [0; 3],
            direct_until: 0,
        };
        assert!(settings.is_set() && !Settings::default().is_set());
        for port in [15001, 15006, 15008] {
            assert!(settings.is_mesh_port(NetPort::from_host(port)));
        }
        assert!(!settings.is_mesh_port(NetPort::from_host(80)));
    }
}

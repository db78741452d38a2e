//! Connections that the kernel makes by itself: what the node grants, and what becomes of each connection.
//!
//! A grant is the proxy's answer for one workload and one destination, given beforehand. It holds for the enrolment and
//! the start of the node under which it was written, and only while the node renews its lease
//! ([`Settings::direct_until`](crate::Settings::direct_until)).

use crate::{Address, NetPort};

/// Endpoints of one grant. More than a node's few replicas of one Service are left to the proxy.
pub const MAX_ENDPOINTS: usize = 16;
/// Places that a grant's endpoints share by weight: divisible by all numbers up to 6 and by most up to 16.
pub const PICKS: usize = 240;

/// For which workload and destination a grant is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct GrantKey {
    /// Id of the workload's cgroup.
    pub cgroup: u64,
    /// Destination that a program asks for.
    pub destination: Address,
    /// Its port.
    pub port: NetPort,
    /// Always zero: keys compare as bytes.
    pub pad: [u16; 3],
}

/// Where connections of a workload to a destination go without the proxy.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The destination, as in the key: whoever has read an endpoint compares it afterwards, since the kernel may use an
    /// entry's memory for another key at once.
    pub destination: Address,
    /// Its port.
    pub port: NetPort,
    /// Always zero.
    pub pad: u16,
    /// [`WorkloadEntry::slot`](crate::WorkloadEntry::slot) of the workload: a grant does not outlive the enrolment.
    pub slot: u32,
    /// [`Settings::generation`](crate::Settings::generation): nor the start of the node.
    pub generation: u32,
    /// Index into the endpoints for each place; one place is drawn at random.
    pub picks: [u8; PICKS],
    /// The endpoints, of the destination's address family.
    pub endpoints: [GrantEndpoint; MAX_ENDPOINTS],
}

/// One endpoint of a grant.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrantEndpoint {
    /// Its address.
    pub address: Address,
    /// Its port; zero where there is no endpoint.
    pub port: NetPort,
    /// Always zero.
    pub pad: u16,
    /// Slot of the workload there.
    pub slot: u32,
}

/// A connection that went past the proxy: entry of the table of those that are open, and event when it opens or ends.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectFlow {
    /// The client socket's cookie, which is also the key.
    pub cookie: u64,
    /// Cookie of its network namespace.
    pub netns_cookie: u64,
    /// Id of its workload's cgroup.
    pub cgroup: u64,
    /// When connect() was called, in ns of CLOCK_MONOTONIC.
    pub opened: u64,
    /// When it ended; 0 until then.
    pub closed: u64,
    /// Bytes from the client to the server. Set when the connection ends.
    pub sent: u64,
    /// Bytes from the server to the client. Set when the connection ends.
    pub received: u64,
    /// Address of the client socket; set before the SYN.
    pub source: Address,
    /// Destination that the program asked for.
    pub destination: Address,
    /// Where it went.
    pub endpoint: Address,
    /// Slot of the workload.
    pub slot: u32,
    /// Slot of the workload at the endpoint.
    pub endpoint_slot: u32,
    /// [`Settings::generation`](crate::Settings::generation): slots mean something only under it.
    pub generation: u32,
    /// [`DirectFlow::PEER_ENDED`], [`DirectFlow::BROKEN`].
    pub flags: u32,
    /// Port of the client socket.
    pub source_port: NetPort,
    /// Port that the program asked for.
    pub destination_port: NetPort,
    /// Port of the endpoint.
    pub endpoint_port: NetPort,
    /// One of the states below.
    pub state: u16,
}

// === impl GrantKey ===

impl GrantKey {
    /// The key for a destination of the workload in a cgroup.
    #[inline(always)]
    #[must_use]
    pub const fn new(cgroup: u64, destination: Address, port: NetPort) -> Self {
        Self {
            cgroup,
            destination,
            port,
            pad: [0; 3],
        }
    }
}

// === impl DirectFlow ===

impl DirectFlow {
    /// The connect hook has made the entry; the port is not known yet. Becomes [`Self::CONNECTING`] within the same system
    /// call, unless that fails.
    pub const RESERVED: u16 = 0;
    /// The SYN is on its way.
    pub const CONNECTING: u16 = 1;
    /// The connection has come about.
    pub const OPEN: u16 = 2;
    /// It is over.
    pub const CLOSED: u16 = 3;
    /// It never came about.
    pub const FAILED: u16 = 4;
    /// Its end will not be told: the node is to end it.
    pub const LOST: u16 = 5;

    /// The server has ended its direction.
    pub const PEER_ENDED: u32 = 1;
    /// It ended otherwise than by both ends' leave.
    pub const BROKEN: u32 = 2;
}

#[cfg(test)]
mod tests {
    use core::mem::{align_of, offset_of, size_of};

    use super::*;

    #[test]
    fn layout_has_no_padding() {
        assert_eq!((size_of::<GrantKey>(), align_of::<GrantKey>()), (32, 8));
        assert_eq!(offset_of!(GrantKey, destination), 8);
        assert_eq!(offset_of!(GrantKey, port), 24);
        assert_eq!(offset_of!(GrantKey, pad), 26);

        assert_eq!((size_of::<GrantEndpoint>(), align_of::<GrantEndpoint>()), (24, 4));
        assert_eq!(offset_of!(GrantEndpoint, port), 16);
        assert_eq!(offset_of!(GrantEndpoint, slot), 20);

        let endpoints = MAX_ENDPOINTS * size_of::<GrantEndpoint>();
        assert_eq!(
            (size_of::<Grant>(), align_of::<Grant>()),
            (28 + PICKS + endpoints, 4)
        );
        assert_eq!(offset_of!(Grant, port), 16);
        assert_eq!(offset_of!(Grant, slot), 20);
        assert_eq!(offset_of!(Grant, picks), 28);
        assert_eq!(offset_of!(Grant, endpoints), 28 + PICKS);

        assert_eq!((size_of::<DirectFlow>(), align_of::<DirectFlow>()), (128, 8));
        assert_eq!(offset_of!(DirectFlow, source), 56);
        assert_eq!(offset_of!(DirectFlow, slot), 104);
        assert_eq!(offset_of!(DirectFlow, source_port), 120);
        assert_eq!(offset_of!(DirectFlow, state), 126);
    }
}

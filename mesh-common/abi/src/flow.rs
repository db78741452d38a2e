//! What is known of one connection: the original destination and the proxy's own connections.

use crate::{Address, NetPort};

/// Where a captured socket wanted to go. Lives in the socket's storage, freed with the socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Original {
    /// Cookie of the socket's network namespace.
    pub netns_cookie: u64,
    /// Destination that the program asked for.
    pub destination: Address,
    /// Its port.
    pub port: NetPort,
    /// 1 from the connect hook until the flow is published. When an enrolled cgroup lies in another one, the hooks of
    /// both run for one connect: this tells the second that the first has rewritten it.
    pub pending: u16,
    /// Slot of the workload.
    pub slot: u32,
    /// Generation of the workload's entry.
    pub generation: u32,
    /// 1 when the socket went straight to an endpoint, 0 when it went to the proxy.
    pub direct: u32,
}

/// Source address of a captured connection, as the proxy's accept sees it. The cookie is needed because
/// 127.0.0.1 repeats in every namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Cookie of the network namespace.
    pub netns_cookie: u64,
    /// Source address.
    pub source: Address,
    /// Source port.
    pub port: NetPort,
    /// Always zero: keys compare as bytes.
    pub pad: [u16; 3],
}

/// Original destination of a captured connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowValue {
    /// Destination that the program asked for.
    pub destination: Address,
    /// Its port.
    pub port: NetPort,
    /// Always zero.
    pub pad: u16,
    /// Slot of the workload.
    pub slot: u32,
    /// Generation of the workload's entry: a slot means something only to the process that gave it.
    pub generation: u32,
}

/// One connection that the proxy itself opened.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProxyFlowKey {
    /// Cookie of the network namespace.
    pub netns_cookie: u64,
    /// The proxy's end.
    pub source: Address,
    /// The other end.
    pub destination: Address,
    /// Port of the proxy's end.
    pub source_port: NetPort,
    /// Port of the other end.
    pub destination_port: NetPort,
    /// Always zero: keys compare as bytes.
    pub pad: u32,
}

impl FlowKey {
    /// The key of a source address in a namespace.
    #[inline(always)]
    #[must_use]
    pub const fn new(netns_cookie: u64, source: Address, port: NetPort) -> Self {
        Self {
            netns_cookie,
            source,
            port,
            pad: [0; 3],
        }
    }
}

impl Original {
    /// What the proxy is told at accept.
    #[inline(always)]
    #[must_use]
    pub const fn flow(&self) -> FlowValue {
        FlowValue {
            destination: self.destination,
            port: self.port,
            pad: 0,
            slot: self.slot,
            generation: self.generation,
        }
    }
}

#[cfg(test)]
mod tests {
    use core::mem::{align_of, offset_of, size_of};

    use super::*;

    #[test]
    fn layout_has_no_padding() {
        assert_eq!((size_of::<Original>(), align_of::<Original>()), (40, 8));
        assert_eq!(offset_of!(Original, destination), 8);
        assert_eq!(offset_of!(Original, port), 24);
        assert_eq!(offset_of!(Original, pending), 26);
        assert_eq!(offset_of!(Original, slot), 28);
        assert_eq!(offset_of!(Original, generation), 32);
        assert_eq!(offset_of!(Original, direct), 36);

        assert_eq!((size_of::<FlowKey>(), align_of::<FlowKey>()), (32, 8));
        assert_eq!(offset_of!(FlowKey, source), 8);
        assert_eq!(offset_of!(FlowKey, port), 24);
        assert_eq!(offset_of!(FlowKey, pad), 26);

        assert_eq!((size_of::<FlowValue>(), align_of::<FlowValue>()), (28, 4));
        assert_eq!(offset_of!(FlowValue, port), 16);
        assert_eq!(offset_of!(FlowValue, pad), 18);
        assert_eq!(offset_of!(FlowValue, slot), 20);
        assert_eq!(offset_of!(FlowValue, generation), 24);

        assert_eq!((size_of::<ProxyFlowKey>(), align_of::<ProxyFlowKey>()), (48, 8));
        assert_eq!(offset_of!(ProxyFlowKey, source), 8);
        assert_eq!(offset_of!(ProxyFlowKey, destination), 24);
        assert_eq!(offset_of!(ProxyFlowKey, source_port), 40);
        assert_eq!(offset_of!(ProxyFlowKey, destination_port), 42);
        assert_eq!(offset_of!(ProxyFlowKey, pad), 44);
    }

    #[test]
    fn the_proxy_is_told_what_the_socket_remembers() {
        let original = Original {
            netns_cookie: 7,
            destination: Address::from_v4_word(9),
            port: NetPort::from_host(80),
            pending: 1,
            slot: 3,
            generation: 9,
            direct: 0,
        };
        let flow = original.flow();
        assert_eq!(
            (flow.destination, flow.port, flow.slot, flow.generation),
            (original.destination, original.port, 3, 9)
        );
    }
}

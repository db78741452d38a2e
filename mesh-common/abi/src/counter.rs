//! What the kernel programs count. The order is part of the layout: append only.

/// Index into the counters' map.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Connections rewritten to the proxy.
    Captured,
    /// Passed: to the loopback or to the unspecified address.
    PassedLoopback,
    /// Passed: not TCP.
    PassedProtocol,
    /// Passed: to an excluded port.
    PassedPort,
    /// Passed: to an excluded network.
    PassedNetwork,
    /// Refused: to one of the mesh's own ports.
    DeniedMeshPort,
    /// Refused: the calling process is in no enrolled cgroup (its socket was made in one).
    DeniedUnknown,
    /// Refused: the socket belongs to another network namespace than the workload.
    DeniedNamespace,
    /// Refused: the node has not written its settings yet.
    DeniedUnset,
    /// Refused: no memory for the socket's storage.
    DeniedStorage,
    /// Flows published for the proxy to take.
    FlowPublished,
    /// Flows that could not be published; the proxy closes such a connection.
    FlowFailed,
    /// Flows withdrawn because the connection ended before the proxy could accept it.
    FlowWithdrawn,
    /// Connections of the proxy itself that were noted.
    ProxyFlowPublished,
    /// Connections of the proxy itself that could not be noted.
    ProxyFlowFailed,
    /// Connections that went straight to an endpoint, past the proxy.
    Direct,
    /// Connections that were rewritten to the proxy although they might have gone straight: the table of those is full.
    DirectFull,
    /// Ends of connections past the proxy that found no room in the ring; the node finds them in the table.
    DirectUntold,
}

impl Counter {
    /// Every counter, in the order of the map, with the name under which metrics show it.
    pub const ALL: [(Self, &'static str); 18] = [
        (Self::Captured, "captured"),
        (Self::PassedLoopback, "passed_loopback"),
        (Self::PassedProtocol, "passed_protocol"),
        (Self::PassedPort, "passed_port"),
        (Self::PassedNetwork, "passed_network"),
        (Self::DeniedMeshPort, "denied_mesh_port"),
        (Self::DeniedUnknown, "denied_unknown"),
        (Self::DeniedNamespace, "denied_namespace"),
        (Self::DeniedUnset, "denied_unset"),
        (Self::DeniedStorage, "denied_storage"),
        (Self::FlowPublished, "flow_published"),
        (Self::FlowFailed, "flow_failed"),
        (Self::FlowWithdrawn, "flow_withdrawn"),
        (Self::ProxyFlowPublished, "proxy_flow_published"),
        (Self::ProxyFlowFailed, "proxy_flow_failed"),
        (Self::Direct, "direct"),
        (Self::DirectFull, "direct_full"),
        (Self::DirectUntold, "direct_untold"),
    ];

    /// Slots of the map: room to append without a new layout.
    pub const SLOTS: u32 = 32;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_listed_in_their_order_and_fit() {
        for (at, (counter, _)) in Counter::ALL.iter().enumerate() {
            assert_eq!(*counter as usize, at);
        }
        assert!(Counter::ALL.len() <= Counter::SLOTS as usize);
    }
}

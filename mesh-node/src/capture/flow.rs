//! The connections that the kernel programs noted: captured ones to be taken at accept, and the proxy's own.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use mesh_abi::{Address, FlowKey, FlowValue, MapLayout, NetPort, ProxyFlowKey, map};

use super::{error::CaptureError, map::KernelMap};

/// Where a captured connection wanted to go, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Destination that the program asked for.
    pub destination: SocketAddr,
    /// Slot of the workload, as given at enrolment.
    pub slot: u32,
}

/// Both maps of connections. No locks: each question is one call to the kernel.
#[derive(Debug)]
pub(super) struct FlowTable {
    captured: KernelMap<FlowKey, FlowValue>,
    own: KernelMap<ProxyFlowKey, u32>,
    generation: u32,
}

impl FlowTable {
    /// `generation`: flows of any other are a former process's, whose slots mean something else.
    pub(super) fn open(maps: &Path, generation: u32) -> Result<Self, CaptureError> {
        Ok(Self {
            captured: KernelMap::open(maps, map::FLOWS)?,
            own: KernelMap::open(maps, map::PROXY_FLOWS)?,
            generation,
        })
    }

    /// Forgets what a former process left: nobody will accept those connections.
    pub(super) fn clear(&self) -> Result<(), CaptureError> {
        self.captured.clear(MapLayout::MAX_FLOWS)?;
        self.own.clear(MapLayout::MAX_PROXY_FLOWS)?;
        Ok(())
    }

    /// Takes the entry of an accepted connection, so that it cannot be taken twice.
    pub(super) fn take(&self, netns_cookie: u64, source: SocketAddr) -> Result<Option<Flow>, CaptureError> {
        let value = self.captured.take(&flow_key(netns_cookie, source))?;
        Ok(value
            .filter(|value| value.generation == self.generation)
            .map(|value| flow(&value)))
    }

    /// Whether the proxy itself opened this connection.
    pub(super) fn is_own(
        &self,
        netns_cookie: u64,
        source: SocketAddr,
        destination: SocketAddr,
    ) -> Result<bool, CaptureError> {
        Ok(self
            .own
            .get(&proxy_key(netns_cookie, source, destination))?
            .is_some())
    }
}

fn address(of: SocketAddr) -> (Address, NetPort) {
    (Address::from(of.ip()), NetPort::from_host(of.port()))
}

fn flow_key(netns_cookie: u64, source: SocketAddr) -> FlowKey {
    let (source, port) = address(source);
    FlowKey::new(netns_cookie, source, port)
}

fn proxy_key(netns_cookie: u64, source: SocketAddr, destination: SocketAddr) -> ProxyFlowKey {
    let ((source, source_port), (destination, destination_port)) = (address(source), address(destination));
    ProxyFlowKey {
        netns_cookie,
        source,
        destination,
        source_port,
        destination_port,
        pad: 0,
    }
}

fn flow(value: &FlowValue) -> Flow {
    let ip: IpAddr = value.destination.to_ip();
    Flow {
        destination: SocketAddr::new(ip, value.port.to_host()),
        slot: value.slot,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dual_stack_accept_finds_what_an_ipv4_socket_published() {
        let v4 = flow_key(1, "10.0.0.1:4000".parse().unwrap());
        let mapped = flow_key(1, "[::ffff:10.0.0.1]:4000".parse().unwrap());
        assert_eq!(v4, mapped);
        assert_ne!(v4, flow_key(2, "10.0.0.1:4000".parse().unwrap()));
    }

    #[test]
    fn destinations_come_back_in_their_own_family() {
        for text in ["10.1.2.3:80", "[2001:db8::1]:443"] {
            let wanted: SocketAddr = text.parse().unwrap();
            let (destination, port) = address(wanted);
            let value = FlowValue {
                destination,
                port,
                pad: 0,
                slot: 5,
                generation: 1,
            };
            assert_eq!(
                flow(&value),
                Flow {
                    destination: wanted,
                    slot: 5
                }
            );
        }
    }
}

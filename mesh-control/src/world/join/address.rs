//! Who has which address: at most one workload, or several on one node's network told apart by port, or one Service.

use std::collections::HashMap;
use std::net::IpAddr;

use mesh_model::NetworkMode;

use crate::world::{Origin, Report, Service, Sourced, Workload};

/// The owners of all workload addresses.
#[derive(Debug, Default)]
pub(super) struct Addresses<'a> {
    own: HashMap<IpAddr, &'a Sourced<Workload>>,
    /// The first workload at each node's address: whose node it is.
    host: HashMap<IpAddr, &'a Sourced<Workload>>,
    host_ports: HashMap<(IpAddr, u16), &'a Sourced<Workload>>,
}

// === impl Addresses ===

impl<'a> Addresses<'a> {
    /// Collects the addresses and reports those that two workloads claim.
    pub(super) fn of(workloads: &[&'a Sourced<Workload>], report: &mut Report) -> Self {
        let mut addresses = Self::default();
        for workload in workloads {
            for (index, address) in workload.value.addresses.iter().enumerate() {
                let field = format!("spec.addresses[{index}]");
                check_kind(&workload.origin, &field, *address, report);
                match workload.value.network {
                    NetworkMode::Own => addresses.claim_own(workload, *address, field, report),
                    NetworkMode::Host => addresses.claim_host(workload, *address, field, report),
                }
            }
        }
        addresses
    }

    /// The workload that serves a port at an address.
    pub(super) fn workload_at(&self, address: IpAddr, port: u16) -> Option<&'a Workload> {
        let found = self
            .own
            .get(&address)
            .or_else(|| self.host_ports.get(&(address, port)));
        found.map(|workload| &workload.value)
    }

    /// Reports virtual addresses that two Services, or a Service and a workload, claim.
    pub(super) fn check_services(&self, services: &[&Sourced<Service>], report: &mut Report) {
        let mut owners: HashMap<IpAddr, &Origin> = HashMap::new();
        for service in services {
            for (index, address) in service.value.addresses.iter().enumerate() {
                let field = match service.value.addresses.len() {
                    1 => "spec.clusterIP".to_owned(),
                    _ => format!("spec.clusterIPs[{index}]"),
                };
                check_kind(&service.origin, &field, *address, report);
                let workload = self.own.get(address).or_else(|| self.host.get(address));
                let other = owners
                    .get(address)
                    .copied()
                    .or(workload.map(|workload| &workload.origin));
                if let Some(other) = other {
                    let remedy = "give the Service a virtual address that nothing else has";
                    claimed(&service.origin, field, *address, other, remedy, report);
                }
                owners.entry(*address).or_insert(&service.origin);
            }
        }
    }

    fn claim_own(
        &mut self,
        workload: &'a Sourced<Workload>,
        address: IpAddr,
        field: String,
        report: &mut Report,
    ) {
        if let Some(other) = self.own.get(&address).or_else(|| self.host.get(&address)) {
            let remedy =
                "give each workload an address of its own, or set hostNetwork on all that share their node's";
            claimed(&workload.origin, field, address, &other.origin, remedy, report);
            return;
        }
        self.own.insert(address, workload);
    }

    fn claim_host(
        &mut self,
        workload: &'a Sourced<Workload>,
        address: IpAddr,
        field: String,
        report: &mut Report,
    ) {
        if let Some(other) = self.own.get(&address) {
            let remedy =
                "give each workload an address of its own, or set hostNetwork on all that share their node's";
            claimed(&workload.origin, field, address, &other.origin, remedy, report);
            return;
        }
        let first = *self.host.entry(address).or_insert(workload);
        if first.value.node != workload.value.node {
            let message = format!(
                "{address} is an address of node {}, says {} at {}",
                first.value.node,
                first.origin.resource,
                first.origin.place()
            );
            let remedy = "give workloads on their node's network the addresses of that node";
            report.error(&workload.origin, field, message, remedy);
            return;
        }
        for (index, port) in workload.value.ports.iter().enumerate() {
            let other = *self.host_ports.entry((address, port.port)).or_insert(workload);
            if !std::ptr::eq(other, workload) {
                let message = format!(
                    "port {} at {address} also belongs to {} at {}",
                    port.port,
                    other.origin.resource,
                    other.origin.place()
                );
                let remedy = "give each workload of a node's network ports of its own";
                report.error(
                    &workload.origin,
                    format!("spec.ports[{index}].port"),
                    message,
                    remedy,
                );
            }
        }
    }
}

fn claimed(
    origin: &Origin,
    field: String,
    address: IpAddr,
    other: &Origin,
    remedy: &str,
    report: &mut Report,
) {
    let message = format!(
        "{address} is also an address of {} at {}",
        other.resource,
        other.place()
    );
    report.error(origin, field, message, remedy);
}

/// Reports addresses that cannot be one host's among others.
fn check_kind(origin: &Origin, field: &str, address: IpAddr, report: &mut Report) {
    let kind = match address {
        _ if address.is_unspecified() => "the unspecified address",
        _ if address.is_loopback() => "a loopback address, which the mesh leaves alone",
        _ if address.is_multicast() => "a multicast address",
        IpAddr::V4(v4) if v4.is_broadcast() => "the broadcast address",
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            "a link-local address, which means another host on each link"
        }
        _ => return,
    };
    let remedy = "use a unicast address that the other nodes reach";
    report.error(origin, field, format!("{address} is {kind}"), remedy);
}

//! What stands behind each Service: the workloads that its selector matches, and the endpoints of its slices.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use mesh_model::{Endpoint, EndpointSet, Locality, NetworkMode, PortMapping, ResourceName, WorkloadPort};

use super::address::Addresses;
use crate::world::{Report, Service, ServicePort, Slice, SliceEndpoint, Sourced, TargetPort, Workload};

/// Endpoints of one Service, by address.
struct Collected<'a> {
    service: &'a Sourced<Service>,
    endpoints: BTreeMap<IpAddr, Endpoint>,
}

/// Workloads by namespace and label. Selectors look at a few of them, not at all.
struct Labelled<'a> {
    workloads: HashMap<(&'a str, &'a str, &'a str), Vec<&'a Sourced<Workload>>>,
}

/// The endpoints of every Service, empty sets included.
pub(super) fn join(
    services: &[&Sourced<Service>],
    slices: &[&Sourced<Slice>],
    workloads: &[&Sourced<Workload>],
    addresses: &Addresses<'_>,
    report: &mut Report,
) -> BTreeMap<ResourceName, EndpointSet> {
    let mut slices_of = by_service(services, slices, report);
    let labelled = Labelled::of(workloads);
    let mut sets = BTreeMap::new();
    for service in services {
        let mut collected = Collected {
            service,
            endpoints: BTreeMap::new(),
        };
        let selected = collected.add_selected(&labelled, report);
        let slices = slices_of.remove(&service.value.name).unwrap_or_default();
        for slice in &slices {
            collected.add_slice(slice, addresses, report);
        }
        collected.warn_if_empty(selected, slices.len(), report);
        let set = EndpointSet {
            service: service.value.name.clone(),
            endpoints: collected.endpoints.into_values().collect(),
        };
        sets.insert(service.value.name.clone(), set);
    }
    sets
}

fn by_service<'a>(
    services: &[&Sourced<Service>],
    slices: &[&'a Sourced<Slice>],
    report: &mut Report,
) -> HashMap<ResourceName, Vec<&'a Sourced<Slice>>> {
    const FIELD: &str = "metadata.labels[kubernetes.io/service-name]";
    let mut slices_of: HashMap<ResourceName, Vec<&Sourced<Slice>>> = services
        .iter()
        .map(|service| (service.value.name.clone(), Vec::new()))
        .collect();
    for slice in slices {
        let Some(service) = &slice.value.service else {
            let remedy = "label it kubernetes.io/service-name: NAME-OF-THE-SERVICE";
            report.warning(&slice.origin, FIELD, "the slice belongs to no Service", remedy);
            continue;
        };
        let Some(slices) = slices_of.get_mut(service) else {
            let message = format!("there is no Service {service}");
            report.warning(
                &slice.origin,
                FIELD,
                message,
                "add the Service or correct the label",
            );
            continue;
        };
        slices.push(slice);
    }
    slices_of
}

// === impl Labelled ===

impl<'a> Labelled<'a> {
    fn of(workloads: &[&'a Sourced<Workload>]) -> Self {
        let mut labelled: HashMap<_, Vec<&Sourced<Workload>>> = HashMap::new();
        for workload in workloads {
            let namespace = workload.value.name.namespace();
            for (key, value) in &workload.value.labels {
                labelled
                    .entry((namespace, key.as_str(), value.as_str()))
                    .or_default()
                    .push(workload);
            }
        }
        Self { workloads: labelled }
    }

    /// The workloads of a Service's namespace that carry every label of its selector, which is not empty.
    fn select<'s>(&'s self, service: &'s Service) -> impl Iterator<Item = &'s Sourced<Workload>> {
        let namespace = service.name.namespace();
        let terms = service.selector.iter();
        let candidates = terms.map(|(key, value)| {
            let found = self.workloads.get(&(namespace, key.as_str(), value.as_str()));
            found.map(Vec::as_slice).unwrap_or_default()
        });
        let fewest = candidates
            .min_by_key(|candidates| candidates.len())
            .unwrap_or_default();
        fewest.iter().copied().filter(|workload| {
            service
                .selector
                .iter()
                .all(|(key, value)| workload.value.labels.get(key) == Some(value))
        })
    }
}

// === impl Collected ===

impl Collected<'_> {
    /// Adds the workloads that the selector matches, and returns how many there are.
    fn add_selected(&mut self, workloads: &Labelled<'_>, report: &mut Report) -> usize {
        let service = &self.service.value;
        let mut selected = 0;
        for workload in workloads.select(service) {
            selected += 1;
            let ports = target_ports(self.service, &workload.value, report);
            if ports.is_empty() {
                continue;
            }
            for address in &workload.value.addresses {
                let endpoint = Endpoint {
                    address: *address,
                    ports: ports.clone(),
                    workload: Some(workload.value.name.clone()),
                    is_ready: workload.value.is_ready || service.is_publishing_not_ready,
                    weight: workload.value.weight,
                    locality: workload.value.locality.clone(),
                };
                self.add(endpoint, &workload.origin, "spec.addresses", report);
            }
        }
        selected
    }

    fn add_slice(&mut self, slice: &Sourced<Slice>, addresses: &Addresses<'_>, report: &mut Report) {
        let ports = slice_ports(&self.service.value, &slice.value);
        if ports.is_empty() {
            let message = format!(
                "none of its ports has the name of a port of {}",
                self.service.origin.resource
            );
            let remedy = "give each port the name of the Service's port that it serves";
            report.warning(&slice.origin, "ports", message, remedy);
            return;
        }
        for given in &slice.value.endpoints {
            for address in &given.addresses {
                let workload = owner(slice, given, *address, &ports, addresses, report);
                let endpoint = Endpoint {
                    address: *address,
                    ports: ports.clone(),
                    workload: workload.map(|workload| workload.name.clone()),
                    is_ready: given.is_ready || self.service.value.is_publishing_not_ready,
                    weight: workload.map_or(1, |workload| workload.weight),
                    locality: locality(given, workload),
                };
                self.add(endpoint, &slice.origin, &given.field, report);
            }
        }
    }

    /// Adds an endpoint, or merges it into the one at its address: Kubernetes may spread an endpoint's ports over
    /// slices, and shows it in two slices while it moves from one to the other.
    fn add(&mut self, added: Endpoint, origin: &crate::world::Origin, field: &str, report: &mut Report) {
        let address = added.address;
        let endpoint = match self.endpoints.entry(address) {
            std::collections::btree_map::Entry::Vacant(vacant) => {
                vacant.insert(added);
                return;
            }
            std::collections::btree_map::Entry::Occupied(occupied) => occupied.into_mut(),
        };
        let remedy = "let one port of an address serve one port of a Service, or use two Services";
        if endpoint.workload != added.workload {
            let name =
                |name: &Option<ResourceName>| name.as_ref().map_or("none".to_owned(), ToString::to_string);
            let message = format!(
                "{address} is an endpoint of {} as workload {} and as workload {}",
                self.service.origin.resource,
                name(&endpoint.workload),
                name(&added.workload)
            );
            report.error(origin, field, message, remedy);
        }
        endpoint.is_ready |= added.is_ready;
        for mapping in added.ports {
            match endpoint
                .ports
                .iter()
                .find(|known| known.service_port == mapping.service_port)
            {
                None => endpoint.ports.push(mapping),
                Some(known) if known.target_port == mapping.target_port => {}
                Some(known) => {
                    let message = format!(
                        "port {} of {} goes to both {} and {} at {address}",
                        mapping.service_port,
                        self.service.origin.resource,
                        known.target_port,
                        mapping.target_port
                    );
                    report.error(origin, field, message, remedy);
                }
            }
        }
    }

    fn warn_if_empty(&self, selected: usize, slices: usize, report: &mut Report) {
        let (origin, service) = (&self.service.origin, &self.service.value);
        if !self.endpoints.is_empty() || selected > 0 {
            return;
        }
        if service.selector.is_empty() {
            if slices == 0 {
                let message =
                    "the Service has no endpoints: it has no selector, and no EndpointSlice belongs to it";
                let remedy =
                    "connections to it are refused until it has one: add a selector or an EndpointSlice";
                report.warning(origin, "spec.selector", message, remedy);
            }
            return;
        }
        let selector: Vec<String> = service
            .selector
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let message = format!(
            "the Service has no endpoints: {} matches no Workload of namespace {}",
            selector.join(","),
            service.name.namespace()
        );
        let remedy = "connections to it are refused until one matches: correct the selector or the labels";
        report.warning(origin, "spec.selector", message, remedy);
    }
}

/// Which ports of a selected workload serve which of the Service's. A port that the workload does not have is left
/// out, as Kubernetes does.
fn target_ports(service: &Sourced<Service>, workload: &Workload, report: &mut Report) -> Vec<PortMapping> {
    let has = |number: u16| workload.ports.iter().any(|port| port.port == number);
    let mut mappings = Vec::new();
    for port in &service.value.ports {
        let field = format!("{}.targetPort", port.field);
        let target_port = match &port.target {
            TargetPort::Same => port.port,
            TargetPort::Number(number) => *number,
            TargetPort::Name(name) => {
                let Some(number) = named(&workload.ports, name) else {
                    let message = format!("Workload {} has no port named '{name}'", workload.name);
                    let remedy = "it is no endpoint of this port; name the port in its spec.ports";
                    report.warning(&service.origin, field, message, remedy);
                    continue;
                };
                number
            }
        };
        if workload.network == NetworkMode::Host && !has(target_port) {
            let message = format!(
                "Workload {} is on its node's network and lists no port {target_port}",
                workload.name
            );
            let remedy = "it is no endpoint of this port; list the port in its spec.ports";
            report.warning(&service.origin, field, message, remedy);
            continue;
        }
        mappings.push(PortMapping {
            service_port: port.port,
            target_port,
        });
    }
    mappings
}

fn named(ports: &[WorkloadPort], name: &str) -> Option<u16> {
    ports.iter().find(|port| port.name == name).map(|port| port.port)
}

fn slice_ports(service: &Service, slice: &Slice) -> Vec<PortMapping> {
    let target = |port: &ServicePort| {
        let found = slice.ports.iter().find(|candidate| candidate.name == port.name)?;
        Some(PortMapping {
            service_port: port.port,
            target_port: found.port.unwrap_or(port.port),
        })
    };
    service.ports.iter().filter_map(target).collect()
}

/// The workload behind a slice's endpoint. It must be the same for all ports: a peer is verified by its identity.
fn owner<'a>(
    slice: &Sourced<Slice>,
    given: &SliceEndpoint,
    address: IpAddr,
    ports: &[PortMapping],
    addresses: &Addresses<'a>,
    report: &mut Report,
) -> Option<&'a Workload> {
    let mut owners = ports
        .iter()
        .map(|port| addresses.workload_at(address, port.target_port));
    let first = owners.next().flatten();
    let name = |workload: Option<&'a Workload>| workload.map(|workload| &workload.name);
    if owners.any(|owner| name(owner) != name(first)) {
        let message = format!("the ports at {address} belong to different workloads");
        let remedy = "use a Service for each workload";
        report.error(&slice.origin, given.field.as_str(), message, remedy);
    }
    first
}

/// Where an endpoint of a slice runs: where the slice says, in the region of its workload if that is in the same zone;
/// without a word of the slice, where its workload runs.
fn locality(given: &SliceEndpoint, workload: Option<&Workload>) -> Locality {
    let of_workload = workload.map(|workload| workload.locality.clone());
    match &given.zone {
        None => of_workload.unwrap_or_default(),
        Some(zone) => of_workload
            .filter(|locality| locality.zone() == zone)
            .unwrap_or_else(|| Locality::new("", zone.clone())),
    }
}

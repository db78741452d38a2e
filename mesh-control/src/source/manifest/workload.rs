//! `nodemesh.io/v1alpha1 Workload`: a process, unit, container or machine that is no pod.

use std::net::IpAddr;

use mesh_model::{Locality, NetworkMode, NodeName, WorkloadPort};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::field::{self, Port, Protocol};
use super::metadata::Metadata;
use crate::world::{Origin, Report, Sourced, Workload};

/// Largest weight, as of Gateway API's backends. Sums of many stay far below what 64 bits hold.
const MAX_WEIGHT: u32 = 1_000_000;

/// The manifest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "the kind was looked at before")]
pub(super) struct Raw {
    api_version: IgnoredAny,
    kind: IgnoredAny,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Spec {
    node: String,
    #[serde(default = "default_account")]
    service_account: String,
    addresses: Vec<String>,
    #[serde(default)]
    host_network: bool,
    cgroup: Option<String>,
    network_namespace: Option<String>,
    #[serde(default)]
    ports: Vec<RawPort>,
    #[serde(default = "default_ready")]
    ready: bool,
    weight: Option<u32>,
    #[serde(default)]
    locality: RawLocality,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLocality {
    region: String,
    zone: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawPort {
    #[serde(default)]
    name: String,
    port: Port,
    #[serde(default)]
    protocol: Protocol,
}

fn default_account() -> String {
    "default".to_owned()
}

fn default_ready() -> bool {
    true
}

// === impl Raw ===

impl Raw {
    /// The Workload.
    pub(super) fn convert(mut self, origin: Origin, report: &mut Report) -> Option<Sourced<Workload>> {
        let labels = self.metadata.take_labels();
        let name = self.metadata.resource_name(&origin, report);
        let node = self.spec.node(&origin, report);
        let addresses = self.spec.addresses(&origin, report);
        let is_placed = self.spec.check_paths(&origin, report);
        let ports = self.spec.take_ports(&origin, report);
        let weight = self.spec.weight;
        if weight.is_some_and(|weight| weight > MAX_WEIGHT) {
            let message = "is out of bounds";
            let remedy = format!("write a number from 0 to {MAX_WEIGHT}; 1 is what all others have");
            report.error(&origin, "spec.weight", message, remedy);
        }
        if !is_placed {
            return None;
        }
        Some(Sourced {
            value: Workload {
                name: name?,
                labels,
                node: node?,
                service_account: self.spec.service_account,
                addresses: addresses?,
                network: if self.spec.host_network {
                    NetworkMode::Host
                } else {
                    NetworkMode::Own
                },
                cgroup: self.spec.cgroup,
                network_namespace: self.spec.network_namespace,
                ports,
                is_ready: self.spec.ready,
                weight: weight.unwrap_or(1),
                locality: Locality::new(self.spec.locality.region, self.spec.locality.zone),
            },
            origin,
        })
    }
}

// === impl Spec ===

impl Spec {
    fn node(&self, origin: &Origin, report: &mut Report) -> Option<NodeName> {
        NodeName::new(&self.node)
            .inspect_err(|error| {
                report.error(origin, "spec.node", error.to_string(), "write the node's name");
            })
            .ok()
    }

    fn addresses(&self, origin: &Origin, report: &mut Report) -> Option<Vec<IpAddr>> {
        if self.addresses.is_empty() {
            let remedy = "list the addresses by which others reach it";
            report.error(origin, "spec.addresses", "a workload needs an address", remedy);
            return None;
        }
        let texts = self.addresses.iter().enumerate();
        let addresses: Vec<IpAddr> = texts
            .filter_map(|(index, text)| {
                field::address(text, origin, format!("spec.addresses[{index}]"), report)
            })
            .collect();
        (addresses.len() == self.addresses.len()).then_some(addresses)
    }

    fn check_paths(&self, origin: &Origin, report: &mut Report) -> bool {
        let mut is_valid = true;
        if let Some(wrong) = self.cgroup.as_deref().and_then(what_is_wrong_with_cgroup) {
            let message = format!("'{}' {wrong}", self.cgroup.as_deref().unwrap_or_default());
            let remedy = "write the path below the cgroup2 mount point, such as system.slice/web.service";
            report.error(origin, "spec.cgroup", message, remedy);
            is_valid = false;
        }
        if let Some(path) = self.network_namespace.as_deref()
            && (!path.starts_with('/') || is_escaping(path.trim_start_matches('/')))
        {
            let message = format!("'{path}' is no absolute path without '.' and '..'");
            report.error(
                origin,
                "spec.networkNamespace",
                message,
                "write a path such as /run/netns/web",
            );
            is_valid = false;
        }
        is_valid
    }

    fn take_ports(&mut self, origin: &Origin, report: &mut Report) -> Vec<WorkloadPort> {
        let mut ports = Vec::new();
        for (index, port) in std::mem::take(&mut self.ports).into_iter().enumerate() {
            let field = format!("spec.ports[{index}]");
            field::check_port_name(&port.name, origin, &field, report);
            if field::is_carried(port.protocol, origin, &field, report) {
                ports.push(WorkloadPort {
                    name: port.name,
                    port: port.port.0,
                });
            }
        }
        ports
    }
}

/// A cgroup's path is joined to the mount point: it may not lead out of it, nor be the whole hierarchy.
fn what_is_wrong_with_cgroup(path: &str) -> Option<&'static str> {
    if path.starts_with('/') {
        return Some("begins with '/', and is meant from the mount point on");
    }
    if path.is_empty() {
        return Some("is the whole hierarchy, with the proxy in it");
    }
    is_escaping(path).then_some("has an empty part, '.', '..' or a control character")
}

fn is_escaping(path: &str) -> bool {
    path.chars().any(char::is_control) || path.split('/').any(|part| matches!(part, "" | "." | ".."))
}

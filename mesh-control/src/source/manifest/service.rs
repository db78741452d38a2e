//! `v1 Service`: virtual addresses, TCP ports and the selector.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::field::{self, Port, PortOrName, Protocol};
use super::metadata::Metadata;
use crate::world::{Origin, Report, Service, ServicePort, Sourced, TargetPort};

/// The value of `clusterIP` that makes a Service headless.
const HEADLESS: &str = "None";

/// The manifest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "fields that mean nothing here are accepted by name, and never read"
)]
pub(super) struct Raw {
    api_version: IgnoredAny,
    kind: IgnoredAny,
    metadata: Metadata,
    spec: Spec,
    status: Option<IgnoredAny>,
}

/// Kubernetes' ServiceSpec.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "fields that mean nothing here are accepted by name, and never read"
)]
struct Spec {
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Option<Vec<String>>,
    ports: Option<Vec<RawPort>>,
    selector: Option<BTreeMap<String, String>>,
    publish_not_ready_addresses: Option<bool>,
    #[serde(rename = "type", default)]
    service_type: Type,
    allocate_load_balancer_node_ports: Option<IgnoredAny>,
    #[serde(rename = "externalIPs")]
    external_ips: Option<IgnoredAny>,
    external_name: Option<IgnoredAny>,
    external_traffic_policy: Option<IgnoredAny>,
    health_check_node_port: Option<IgnoredAny>,
    internal_traffic_policy: Option<IgnoredAny>,
    ip_families: Option<IgnoredAny>,
    ip_family_policy: Option<IgnoredAny>,
    load_balancer_class: Option<IgnoredAny>,
    #[serde(rename = "loadBalancerIP")]
    load_balancer_ip: Option<IgnoredAny>,
    load_balancer_source_ranges: Option<IgnoredAny>,
    session_affinity: Option<IgnoredAny>,
    session_affinity_config: Option<IgnoredAny>,
    traffic_distribution: Option<IgnoredAny>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
enum Type {
    #[default]
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    NodePort,
    LoadBalancer,
    ExternalName,
}

/// Kubernetes' ServicePort.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "fields that mean nothing here are accepted by name, and never read"
)]
struct RawPort {
    #[serde(default)]
    name: String,
    port: Port,
    target_port: Option<PortOrName>,
    #[serde(default)]
    protocol: Protocol,
    app_protocol: Option<String>,
    node_port: Option<IgnoredAny>,
}

// === impl Raw ===

impl Raw {
    /// The Service.
    pub(super) fn convert(mut self, origin: Origin, report: &mut Report) -> Option<Sourced<Service>> {
        let name = self.metadata.resource_name(&origin, report);
        if self.spec.service_type == Type::ExternalName {
            report.error(
                &origin,
                "spec.type",
                "an ExternalName Service is an alias in DNS, which the mesh does not see",
                "remove it from the folder; connections to the name that it stands for pass as they are",
            );
            return None;
        }
        let addresses = self.spec.addresses(&origin, report);
        let ports = self.spec.take_ports(&origin, report);
        Some(Sourced {
            value: Service {
                name: name?,
                addresses: addresses?,
                ports,
                selector: self.spec.selector.unwrap_or_default(),
                is_publishing_not_ready: self.spec.publish_not_ready_addresses.unwrap_or(false),
            },
            origin,
        })
    }
}

// === impl Spec ===

impl Spec {
    fn addresses(&self, origin: &Origin, report: &mut Report) -> Option<Vec<IpAddr>> {
        let single = self.cluster_ip.as_deref().filter(|text| !text.is_empty());
        let several = self.cluster_ips.as_deref().unwrap_or_default();
        let first = several.first().map(String::as_str);
        if let (Some(single), Some(first)) = (single, first)
            && single != first
        {
            let message = format!("'{single}' is not the first of clusterIPs, '{first}'");
            report.error(
                origin,
                "spec.clusterIP",
                message,
                "let both say the same, or leave one out",
            );
            return None;
        }
        let texts: Vec<(String, &str)> = if several.is_empty() {
            single
                .into_iter()
                .map(|text| ("spec.clusterIP".to_owned(), text))
                .collect()
        } else {
            let texts = several.iter().enumerate();
            texts
                .map(|(index, text)| (format!("spec.clusterIPs[{index}]"), text.as_str()))
                .collect()
        };
        if texts.is_empty() {
            report.error(
                origin,
                "spec.clusterIP",
                "the Service has no address, and the folder source gives out none",
                "set clusterIP to an address that nothing else has, or to None for a headless Service",
            );
            return None;
        }
        if texts.iter().any(|(_, text)| *text == HEADLESS) {
            if texts.len() > 1 {
                let message = "a headless Service has no other address";
                report.error(
                    origin,
                    "spec.clusterIPs",
                    message,
                    "leave only None, or only addresses",
                );
                return None;
            }
            return Some(Vec::new());
        }
        let wanted = texts.len();
        let addresses: Vec<IpAddr> = texts
            .into_iter()
            .filter_map(|(field, text)| field::address(text, origin, field, report))
            .collect();
        (addresses.len() == wanted).then_some(addresses)
    }

    fn take_ports(&mut self, origin: &Origin, report: &mut Report) -> Vec<ServicePort> {
        let mut ports = Vec::new();
        for (index, port) in self.ports.take().unwrap_or_default().into_iter().enumerate() {
            let field = format!("spec.ports[{index}]");
            field::check_port_name(&port.name, origin, &field, report);
            if !field::is_carried(port.protocol, origin, &field, report) {
                continue;
            }
            ports.push(ServicePort {
                field,
                name: port.name,
                port: port.port.0,
                target: match port.target_port {
                    None => TargetPort::Same,
                    Some(PortOrName::Number(number)) => TargetPort::Number(number),
                    Some(PortOrName::Name(name)) => TargetPort::Name(name),
                },
                app_protocol: port.app_protocol,
            });
        }
        ports
    }
}

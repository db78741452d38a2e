//! One Workload's manifest to one workload of the model.

use mesh_model::{Attachment, Identity, NetworkMode, TrustDomain, Tunnel, Workload};

use super::check_ports;
use crate::world::{Report, Sourced, inputs};

/// Ports of the data path that a node opens within every enrolled workload's network: outbound capture, inbound
/// plaintext, HBONE.
const MESH_PORTS: [u16; 3] = [15001, 15006, 15008];

/// The workload, unless its identity is invalid.
pub(super) fn join(
    input: &Sourced<inputs::Workload>,
    is_enrolled: bool,
    trust_domain: &TrustDomain,
    report: &mut Report,
) -> Option<Workload> {
    let (origin, workload) = (&input.origin, &input.value);
    check_placement(input, is_enrolled, report);
    let fields = (0..).map(|index| format!("spec.ports[{index}]"));
    let ports = workload.ports.iter().zip(fields);
    check_ports(
        origin,
        ports.map(|(port, field)| (field, port.port, port.name.as_str())),
        report,
    );
    let identity = match Identity::new(
        trust_domain.clone(),
        workload.name.namespace(),
        &workload.service_account,
    ) {
        Ok(identity) => identity,
        Err(error) => {
            report.error(
                origin,
                "spec.serviceAccount",
                error.to_string(),
                "give the account a valid name",
            );
            return None;
        }
    };
    let attachment = || {
        Some(Attachment {
            cgroup: workload.cgroup.clone()?,
            network_namespace: workload.network_namespace.clone(),
        })
    };
    Some(Workload {
        name: workload.name.clone(),
        node: workload.node.clone(),
        identity,
        addresses: workload.addresses.clone(),
        network: workload.network,
        tunnel: if is_enrolled { Tunnel::Hbone } else { Tunnel::None },
        ports: workload.ports.clone(),
        labels: workload.labels.clone(),
        locality: workload.locality.clone(),
        attachment: if is_enrolled { attachment() } else { None },
    })
}

fn check_placement(input: &Sourced<inputs::Workload>, is_enrolled: bool, report: &mut Report) {
    let (origin, workload) = (&input.origin, &input.value);
    let is_host = workload.network == NetworkMode::Host;
    if is_enrolled && workload.cgroup.is_none() {
        report.error(
            origin,
            "spec.cgroup",
            "an enrolled workload needs its cgroup, by which its node finds its processes",
            "set it to the cgroup's path below the cgroup2 mount, or label the workload nodemesh.io/mesh: disabled",
        );
    }
    if is_host && workload.ports.is_empty() {
        report.error(
            origin,
            "spec.ports",
            "a workload on its node's network is told apart from others there by its ports, and lists none",
            "list every TCP port that it serves",
        );
    }
    if is_host && workload.network_namespace.is_some() {
        report.error(
            origin,
            "spec.networkNamespace",
            "a workload on its node's network has no network namespace of its own",
            "remove the field, or set hostNetwork to false",
        );
    }
    for (index, port) in workload.ports.iter().enumerate().filter(|_| is_enrolled) {
        if MESH_PORTS.contains(&port.port) {
            report.error(
                origin,
                format!("spec.ports[{index}].port"),
                format!(
                    "port {} belongs to the mesh within an enrolled workload's network",
                    port.port
                ),
                "let the workload use another port",
            );
        }
    }
}

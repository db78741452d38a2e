//! Who is in the mesh: by the label on the Namespace, which the label on a Workload overrides.

use std::collections::{BTreeMap, HashMap};

use crate::world::{Namespace, Origin, Report, Sourced, Workload};

/// The label, on a Namespace or a Workload.
const LABEL: &str = "nodemesh.io/mesh";
/// The path of the label in a manifest, for problems.
const FIELD: &str = "metadata.labels[nodemesh.io/mesh]";

/// Which namespaces are enrolled. One without a Namespace manifest is not.
pub(super) fn namespaces<'a>(
    inputs: &'a [Sourced<Namespace>],
    report: &mut Report,
) -> HashMap<&'a str, bool> {
    let mut origins: HashMap<&str, &Origin> = HashMap::new();
    let mut enrolled = HashMap::new();
    for input in inputs {
        let name = input.value.name.as_str();
        if let Some(other) = origins.insert(name, &input.origin) {
            let message = format!("Namespace {name} is also defined at {}", other.place());
            report.error(&input.origin, "metadata.name", message, "remove one of them");
            continue;
        }
        enrolled.insert(
            name,
            label(&input.origin, &input.value.labels, report).unwrap_or(false),
        );
    }
    enrolled
}

/// Whether a workload is enrolled.
pub(super) fn is_enrolled(
    workload: &Sourced<Workload>,
    namespaces: &HashMap<&str, bool>,
    report: &mut Report,
) -> bool {
    label(&workload.origin, &workload.value.labels, report).unwrap_or_else(|| {
        let namespace = workload.value.name.namespace();
        namespaces.get(namespace).copied().unwrap_or(false)
    })
}

fn label(origin: &Origin, labels: &BTreeMap<String, String>, report: &mut Report) -> Option<bool> {
    match labels.get(LABEL)?.as_str() {
        "enabled" => Some(true),
        "disabled" => Some(false),
        other => {
            let message = format!("'{other}' is neither 'enabled' nor 'disabled'");
            report.error(
                origin,
                FIELD,
                message,
                "write one of the two, or remove the label",
            );
            None
        }
    }
}

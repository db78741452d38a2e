//! A node at a glance.

use mesh_api::admin::Status;

use crate::table::one_line;
use crate::units;

pub(super) fn status_text(status: &Status) -> String {
    let control = &status.control;
    let connection = match (control.is_connected, &control.last_error) {
        (true, _) => "connected".to_owned(),
        (false, Some(error)) => format!("not connected: {}", one_line(error)),
        (false, None) => "not connected".to_owned(),
    };
    let configuration = if control.is_stale {
        "from disk, not confirmed since"
    } else {
        "from the control plane"
    };
    let ready = if status.is_ready {
        "yes".to_owned()
    } else {
        format!("no, waits for {}", status.pending.join(", "))
    };
    let lines = [
        ("Node", status.node.clone()),
        ("Version", status.version.clone()),
        ("Up for", units::span(status.uptime_seconds)),
        ("Ready", ready),
        ("Control plane", format!("{} ({connection})", control.address)),
        ("Configuration", configuration.to_owned()),
        (
            "Workloads",
            format!(
                "{} captured here, {} known",
                status.enrolled_workloads, status.workloads
            ),
        ),
        ("Services", status.services.to_string()),
        ("Connections", format!("{} open", status.open_connections)),
    ];
    let mut text = String::new();
    text.extend(lines.map(|(label, value)| format!("{:<16}{value}\n", format!("{label}:"))));
    if !status.capture.is_empty() {
        text.push_str("Kernel programs:\n");
        let width = status.capture.keys().map(String::len).max().unwrap_or_default();
        text.extend(
            status
                .capture
                .iter()
                .map(|(name, count)| format!("  {name:<width$}  {count}\n")),
        );
    }
    text
}

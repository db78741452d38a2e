//! What a node says of itself, as tables for people or as its own JSON for programs.
//!
//! Invariant: JSON passes through as the node sent it, so that a program sees fields that this meshctl does not
//! know. Tables show the fields that it knows.

use std::time::{SystemTime, UNIX_EPOCH};

use mesh_api::admin::{CertificateStatus, ConnectionStatus, ServiceStatus, Status, WorkloadStatus};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::admin_client::{AdminClient, AdminError};
use crate::cli::{ConnectionFilter, Output, ServiceFilter, WorkloadFilter};
use crate::table::Column::{Left, Right};
use crate::table::{Table, one_line};
use crate::units;

/// `meshctl status`.
pub(crate) fn status(client: &AdminClient, output: Output) -> Result<String, AdminError> {
    let value: Value = client.get_json("/status")?;
    match output {
        Output::Json => Ok(indented(&value)),
        Output::Table => Ok(status_text(&parse("/status", value)?)),
    }
}

/// `meshctl workloads`.
pub(crate) fn workloads(
    client: &AdminClient,
    output: Output,
    filter: &WorkloadFilter,
) -> Result<String, AdminError> {
    let keep = |workload: &WorkloadStatus| {
        is_in(&workload.name, filter.namespace.as_deref()) && (!filter.local || workload.local.is_some())
    };
    list(client, "/workloads", output, keep, workload_table)
}

/// `meshctl services`.
pub(crate) fn services(
    client: &AdminClient,
    output: Output,
    filter: &ServiceFilter,
) -> Result<String, AdminError> {
    let keep = |service: &ServiceStatus| is_in(&service.name, filter.namespace.as_deref());
    list(
        client,
        "/services",
        output,
        keep,
        if filter.endpoints {
            endpoint_table
        } else {
            service_table
        },
    )
}

/// `meshctl connections`.
pub(crate) fn connections(
    client: &AdminClient,
    output: Output,
    filter: &ConnectionFilter,
) -> Result<String, AdminError> {
    let wanted = filter.workload.as_ref().map(ToString::to_string);
    let keep =
        |connection: &ConnectionStatus| wanted.as_ref().is_none_or(|name| *name == connection.workload);
    list(client, "/connections", output, keep, connection_table)
}

/// `meshctl certificates`.
pub(crate) fn certificates(client: &AdminClient, output: Output) -> Result<String, AdminError> {
    // A clock before 1970 shows every certificate as of the far future, which is what is wrong then.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    list(
        client,
        "/certificates",
        output,
        |_| true,
        |rows| certificate_table(rows, now),
    )
}

/// `meshctl config`: JSON whatever the output, for it has no shape that a table could have.
pub(crate) fn config(client: &AdminClient) -> Result<String, AdminError> {
    Ok(indented(&client.get_json("/config")?))
}

/// Fetches a list, leaves out what is not to be kept, and renders the rest.
fn list<T: DeserializeOwned>(
    client: &AdminClient,
    path: &str,
    output: Output,
    keep: impl Fn(&T) -> bool,
    table: impl Fn(&[T]) -> String,
) -> Result<String, AdminError> {
    let values: Vec<Value> = client.get_json(path)?;
    let mut rows = Vec::with_capacity(values.len());
    for value in values {
        let row: T = parse(path, value.clone())?;
        if keep(&row) {
            rows.push((row, value));
        }
    }
    let (rows, values): (Vec<T>, Vec<Value>) = rows.into_iter().unzip();
    match output {
        Output::Json => Ok(indented(&Value::Array(values))),
        Output::Table => Ok(table(&rows)),
    }
}

fn parse<T: DeserializeOwned>(path: &str, value: Value) -> Result<T, AdminError> {
    serde_json::from_value(value).map_err(|source| AdminError::Form {
        path: path.to_owned(),
        source,
    })
}

fn indented(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Whether a `namespace/name` is of the namespace, or of any when there is none to ask for.
fn is_in(name: &str, namespace: Option<&str>) -> bool {
    namespace.is_none_or(|namespace| name.split_once('/').is_some_and(|(own, _)| own == namespace))
}

fn joined<T: ToString>(items: &[T]) -> String {
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

fn yes(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}

fn status_text(status: &Status) -> String {
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

fn workload_table(workloads: &[WorkloadStatus]) -> String {
    let mut table = Table::new([
        Left("NAME"),
        Left("NODE"),
        Left("IDENTITY"),
        Left("ADDRESSES"),
        Left("NETWORK"),
        Left("MESH"),
        Left("STATE"),
        Right("CONNECTIONS"),
    ]);
    for workload in workloads {
        let local = workload.local.as_ref();
        let state = local.map(|local| match (&local.waiting_for, local.is_captured) {
            (_, true) => "captured".to_owned(),
            (Some(reason), false) => format!("waits: {reason}"),
            (None, false) => "not captured".to_owned(),
        });
        table.push([
            workload.name.clone(),
            workload.node.clone(),
            workload.identity.clone(),
            joined(&workload.addresses),
            if workload.is_host_network { "host" } else { "own" }.to_owned(),
            yes(workload.is_enrolled),
            state.unwrap_or_default(),
            local
                .map(|local| local.open_connections.to_string())
                .unwrap_or_default(),
        ]);
    }
    table.render("No workloads.")
}

fn service_table(services: &[ServiceStatus]) -> String {
    let mut table = Table::new([
        Left("NAME"),
        Left("ADDRESSES"),
        Left("PORTS"),
        Right("READY"),
        Right("ENDPOINTS"),
        Right("CONNECTIONS"),
    ]);
    for service in services {
        let connections: u64 = service
            .endpoints
            .iter()
            .map(|endpoint| u64::from(endpoint.active_connections))
            .sum();
        table.push([
            service.name.clone(),
            joined(&service.addresses),
            joined(&service.ports),
            service
                .endpoints
                .iter()
                .filter(|endpoint| endpoint.is_ready)
                .count()
                .to_string(),
            service.endpoints.len().to_string(),
            connections.to_string(),
        ]);
    }
    table.render("No Services.")
}

fn endpoint_table(services: &[ServiceStatus]) -> String {
    let mut table = Table::new([
        Left("SERVICE"),
        Left("ADDRESS"),
        Left("PORTS"),
        Left("WORKLOAD"),
        Left("READY"),
        Right("CONNECTIONS"),
    ]);
    for service in services {
        for endpoint in &service.endpoints {
            let ports: Vec<String> = endpoint
                .ports
                .iter()
                .map(|(service, target)| format!("{service}->{target}"))
                .collect();
            table.push([
                service.name.clone(),
                endpoint.address.to_string(),
                joined(&ports),
                endpoint.workload.clone().unwrap_or_default(),
                yes(endpoint.is_ready),
                endpoint.active_connections.to_string(),
            ]);
        }
    }
    table.render("No endpoints.")
}

fn connection_table(connections: &[ConnectionStatus]) -> String {
    let mut table = Table::new([
        Right("ID"),
        Left("DIRECTION"),
        Left("WORKLOAD"),
        Left("SOURCE"),
        Left("DESTINATION"),
        Left("SERVICE"),
        Left("ENDPOINT"),
        Left("PEER"),
        Left("TRANSPORT"),
        Right("SENT"),
        Right("RECEIVED"),
        Right("AGE"),
    ]);
    for connection in connections {
        table.push([
            connection.id.to_string(),
            connection.direction.clone(),
            connection.workload.clone(),
            connection.source.to_string(),
            connection.destination.to_string(),
            connection.service.clone().unwrap_or_default(),
            connection
                .endpoint
                .map(|endpoint| endpoint.to_string())
                .unwrap_or_default(),
            connection.peer.clone().unwrap_or_default(),
            connection.transport.clone(),
            units::bytes(connection.sent_bytes),
            units::bytes(connection.received_bytes),
            units::span(connection.age_seconds),
        ]);
    }
    table.render("No connections are open.")
}

fn certificate_table(certificates: &[CertificateStatus], now: i64) -> String {
    let mut table = Table::new([
        Left("IDENTITY"),
        Left("SERIAL"),
        Left("EXPIRES"),
        Left("RENEWAL"),
        Left("LAST ERROR"),
    ]);
    for certificate in certificates {
        // A first one that could not be had is listed with its error alone.
        let moment = |moment| {
            if certificate.serial.is_empty() {
                String::new()
            } else {
                units::relative(moment, now)
            }
        };
        table.push([
            certificate.identity.clone(),
            certificate.serial.clone(),
            moment(certificate.not_after),
            moment(certificate.renewal),
            certificate.last_error.clone().unwrap_or_default(),
        ]);
    }
    table.render("No certificates. They come with the first enrolled workload of this node.")
}

#[cfg(test)]
mod tests;

//! What a node, or the control plane, says, as tables for people or as its own JSON for programs.
//!
//! Invariant: JSON passes through as it was sent, so that a program sees fields that this meshctl does not
//! know. Tables show the fields that it knows.

mod certificates;
mod connections;
mod direct;
mod routes;
mod services;
mod status;
mod workloads;

use std::time::{SystemTime, UNIX_EPOCH};

use mesh_api::admin::{ConnectionStatus, ServiceStatus, WorkloadStatus};
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::certificates::certificate_table;
use self::connections::connection_table;
use self::direct::direct_text;
pub(crate) use self::routes::{of_control_plane as control_routes, of_node as node_routes};
use self::services::{endpoint_table, service_table};
use self::status::status_text;
use self::workloads::workload_table;
use crate::admin_client::{AdminClient, AdminError};
use crate::cli::{ConnectionFilter, Output, ServiceFilter, WorkloadFilter};

/// `meshctl status`.
pub(crate) fn status(client: &AdminClient, output: Output) -> Result<String, AdminError> {
    let value: Value = client.get_json("/status")?;
    match output {
        Output::Json => Ok(indented(&value)),
        Output::Table => Ok(status_text(&client.parse("/status", value)?)),
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

/// `meshctl direct`.
pub(crate) fn direct(client: &AdminClient, output: Output) -> Result<String, AdminError> {
    let value: Value = client.get_json("/direct")?;
    match output {
        Output::Json => Ok(indented(&value)),
        Output::Table => Ok(direct_text(&client.parse("/direct", value)?)),
    }
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
        let row: T = client.parse(path, value.clone())?;
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

#[cfg(test)]
mod tests;

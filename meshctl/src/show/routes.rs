//! Routes: what mesh-control makes of the manifests, with each route's conditions; and what a node goes by.

use std::fmt::Write as _;

use mesh_api::admin::{
    ConditionStatus, NodeRoutes, ParentStatus, PolicyTargetStatus, RouteReading, RouteReport, RouteStatus,
    RuleBackendStatus,
};
use serde_json::Value;

use super::{indented, is_in, joined, list};
use crate::admin_client::{AdminClient, AdminError};
use crate::cli::{Output, RouteFilter};
use crate::table::Column::Left;
use crate::table::{Table, one_line};

/// `meshctl routes`: what mesh-control says.
pub(crate) fn of_control_plane(
    client: &AdminClient,
    output: Output,
    filter: &RouteFilter,
) -> Result<String, AdminError> {
    let mut value: Value = client.get_json("/routes")?;
    if let Some(namespace) = &filter.namespace {
        narrow(&mut value, namespace);
    }
    match output {
        Output::Json => Ok(indented(&value)),
        Output::Table => Ok(report_text(&client.parse("/routes", value)?, filter.rules)),
    }
}

/// `meshctl routes --node`: what a node says.
pub(crate) fn of_node(
    client: &AdminClient,
    output: Output,
    filter: &RouteFilter,
) -> Result<String, AdminError> {
    let keep = |routes: &NodeRoutes| is_in(&routes.service, filter.namespace.as_deref());
    list(client, "/routes", output, keep, node_table)
}

/// Leaves only what is of the namespace, without a look at fields that are of no matter here.
fn narrow(report: &mut Value, namespace: &str) {
    for reading in ["in_force", "refused"] {
        for kind in ["routes", "policies"] {
            let found = report.get_mut(reading).and_then(|reading| reading.get_mut(kind));
            if let Some(Value::Array(entries)) = found {
                entries.retain(|entry| {
                    let name = entry.get("name").and_then(Value::as_str);
                    name.is_some_and(|name| is_in(name, Some(namespace)))
                });
            }
        }
    }
}

pub(super) fn report_text(report: &RouteReport, has_rules: bool) -> String {
    let mut text = match &report.in_force {
        Some(reading) => reading_text(reading, has_rules),
        None => "mesh-control has not read its manifests yet.\n".to_owned(),
    };
    if let Some(refused) = &report.refused {
        text.push_str(
            "\nThe manifests have changed since, and were refused because of an error: what is above stays in force.\n\
             mesh-control's log and its /problems name the error. Without it there would be:\n\n",
        );
        text.push_str(&reading_text(refused, has_rules));
    }
    text
}

fn reading_text(reading: &RouteReading, has_rules: bool) -> String {
    let mut text = route_table(&reading.routes);
    if has_rules && !reading.routes.is_empty() {
        text.push('\n');
        text.push_str(&rule_table(&reading.routes));
    }
    if !reading.policies.is_empty() {
        text.push('\n');
        text.push_str(&policy_table(reading));
    }
    let complaints = complaints(reading);
    if !complaints.is_empty() {
        text.push('\n');
        text.push_str(&complaints);
    }
    text
}

fn route_table(routes: &[RouteStatus]) -> String {
    let mut table = Table::new([
        Left("KIND"),
        Left("ROUTE"),
        Left("SERVICE"),
        Left("PORTS"),
        Left("CLIENTS"),
        Left("ACCEPTED"),
        Left("REFERENCES"),
        Left("WRITTEN IN"),
    ]);
    for route in routes {
        for parent in &route.parents {
            table.push([
                route.kind.clone(),
                route.name.clone(),
                parent.parent.clone(),
                joined(&parent.ports),
                clients(parent.consumer.as_deref()),
                verdict(&parent.conditions, "Accepted"),
                verdict(&parent.conditions, "ResolvedRefs"),
                route.origin.clone(),
            ]);
        }
    }
    table.render("No routes.")
}

fn rule_table(routes: &[RouteStatus]) -> String {
    let mut table = Table::new([Left("ROUTE"), Left("RULE"), Left("MATCHES"), Left("BACKENDS")]);
    for route in routes {
        for rule in &route.rules {
            table.push([
                route.name.clone(),
                rule.name.clone(),
                rule.matches.join(" | "),
                backends(&rule.backends),
            ]);
        }
    }
    table.render("No rules.")
}

fn policy_table(reading: &RouteReading) -> String {
    let mut table = Table::new([
        Left("POLICY"),
        Left("TARGET"),
        Left("ACCEPTED"),
        Left("WRITTEN IN"),
    ]);
    for policy in &reading.policies {
        for target in &policy.targets {
            table.push([
                policy.name.clone(),
                target_text(target),
                verdict(&target.conditions, "Accepted"),
                policy.origin.clone(),
            ]);
        }
    }
    table.render("No policies.")
}

/// A line for each condition that is not as it should be.
fn complaints(reading: &RouteReading) -> String {
    let mut text = String::new();
    let mut tell = |origin: &str, what: String, conditions: &[ConditionStatus]| {
        for condition in conditions.iter().filter(|condition| is_bad(condition)) {
            let written = writeln!(
                text,
                "{origin}: {what}: {} is {}, {}: {}",
                condition.r#type,
                condition.status,
                condition.reason,
                one_line(&condition.message)
            );
            debug_assert!(written.is_ok(), "a String takes everything");
        }
    };
    for route in &reading.routes {
        for parent in &route.parents {
            let what = format!("{} {} at {}", route.kind, route.name, parent_text(parent));
            tell(&route.origin, what, &parent.conditions);
        }
    }
    for policy in &reading.policies {
        for target in &policy.targets {
            let what = format!("TrafficPolicy {} at {}", policy.name, target_text(target));
            tell(&policy.origin, what, &target.conditions);
        }
    }
    text
}

/// Whether something is wrong: for `PartiallyInvalid` when it is true, for all others when they are not.
fn is_bad(condition: &ConditionStatus) -> bool {
    (condition.status == "True") == (condition.r#type == "PartiallyInvalid")
}

/// `yes`, or why not.
fn verdict(conditions: &[ConditionStatus], kind: &str) -> String {
    match conditions.iter().find(|condition| condition.r#type == kind) {
        Some(condition) if condition.status == "True" => "yes".to_owned(),
        Some(condition) => condition.reason.clone(),
        None => String::new(),
    }
}

fn clients(consumer: Option<&str>) -> String {
    match consumer {
        Some(namespace) => format!("of {namespace}"),
        None => "all".to_owned(),
    }
}

fn parent_text(parent: &ParentStatus) -> String {
    match (parent.port, &parent.section_name) {
        (Some(port), _) => format!("{}:{port}", parent.parent),
        (None, Some(section)) => format!("{}:{section}", parent.parent),
        (None, None) => parent.parent.clone(),
    }
}

fn target_text(target: &PolicyTargetStatus) -> String {
    match &target.section_name {
        Some(section) => format!("{} {} {section}", target.kind, target.target),
        None => format!("{} {}", target.kind, target.target),
    }
}

/// With their shares, where there are several.
fn backends(backends: &[RuleBackendStatus]) -> String {
    let sum: u64 = backends.iter().map(|backend| u64::from(backend.weight)).sum();
    let parts = backends.iter().map(|backend| {
        let target = match &backend.error {
            Some(error) if backend.target.is_empty() => format!("invalid ({error})"),
            Some(error) => format!("{} invalid ({error})", backend.target),
            None => backend.target.clone(),
        };
        if backends.len() > 1 {
            format!("{target} {}/{sum}", backend.weight)
        } else {
            target
        }
    });
    parts.collect::<Vec<_>>().join(", ")
}

pub(super) fn node_table(all: &[NodeRoutes]) -> String {
    let mut table = Table::new([
        Left("SERVICE"),
        Left("PORT"),
        Left("CLIENTS"),
        Left("KIND"),
        Left("RULE"),
        Left("MATCHES"),
        Left("BACKENDS"),
        Left("FILTERS"),
        Left("POLICY"),
    ]);
    for routes in all {
        for rule in &routes.rules {
            table.push([
                routes.service.clone(),
                routes.port.to_string(),
                clients(routes.consumer.as_deref()),
                routes.kind.clone(),
                rule.name.clone(),
                rule.matches.join(" | "),
                backends(&rule.backends),
                rule.filters.join("; "),
                rule.policy.join("; "),
            ]);
        }
    }
    table.render("No routes: requests simply go to the Services that they ask for.")
}

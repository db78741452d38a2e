//! Routes of Gateway API v1.5, as far as they concern Services: each kind's own shape, and what all have in common.

mod filter;
mod http_and_grpc;
mod matches;
mod reference;
mod stanza;
mod tls_and_tcp;

use std::collections::HashSet;

use super::metadata::Metadata;
use super::reader::Reader;
use crate::world::{Origin, ParentRef, Report, Route, RouteKind, Rule, Sourced};

pub(super) use self::http_and_grpc::{RawGrpcRoute, RawHttpRoute};
pub(super) use self::matches::{RawHttpMatch, listed as listed_matches};
pub(super) use self::stanza::{
    BACKOFF_GROWTH, DEFAULT_ATTEMPTS, DEFAULT_BACKOFF, MAX_ATTEMPTS, RETRIABLE, check_order,
};
pub(super) use self::tls_and_tcp::{RawTcpRoute, RawTlsRoute};

/// Most rules of a route (HTTPRouteSpec).
const MAX_RULES: usize = 16;
/// Most matches of all rules of a route (HTTPRouteSpec).
const MAX_ALL_MATCHES: usize = 128;
/// Most host names of a route (HTTPRouteSpec).
const MAX_HOSTNAMES: usize = 16;

/// What the kinds differ in.
struct Parts {
    parents: Vec<ParentRef>,
    hostnames: Vec<String>,
    rules: Vec<Rule>,
}

/// A route of a kind: `read` reads what the kinds differ in.
fn route(
    kind: RouteKind,
    metadata: &Metadata,
    origin: Origin,
    report: &mut Report,
    read: impl FnOnce(&mesh_model::ResourceName, &mut Reader<'_>) -> Parts,
) -> Option<Sourced<Route>> {
    let age = metadata.age(&origin, report);
    let name = metadata.resource_name(&origin, report)?;
    let mut reader = Reader::new(&origin, report);
    let parts = read(&name, &mut reader);
    check_rules(&parts.rules, &mut reader);
    if parts.parents.is_empty() {
        let message = "no Service is a parent of the route";
        let remedy = "it has no effect here; name a Service under parentRefs, with \"group: ''\" and \"kind: Service\"";
        reader.note("spec.parentRefs", message, remedy);
    }
    let value = Route {
        kind,
        name,
        age,
        generation: metadata.generation,
        parents: parts.parents,
        hostnames: parts.hostnames,
        rules: parts.rules,
        refusals: reader.into_refusals(),
    };
    Some(Sourced { origin, value })
}

/// Names occur once, and there are not too many matches in all.
fn check_rules(rules: &[Rule], reader: &mut Reader<'_>) {
    let mut names = HashSet::new();
    for (index, rule) in rules.iter().enumerate() {
        if let Some(name) = &rule.name
            && !names.insert(name)
        {
            let message = format!("'{name}' is the name of another rule of the route");
            reader.error(
                format!("spec.rules[{index}].name"),
                message,
                "give each rule a name of its own",
            );
        }
    }
    let matches: usize = rules.iter().map(|rule| rule.matches.len()).sum();
    if matches > MAX_ALL_MATCHES {
        let message = format!("the rules have {matches} matches, {MAX_ALL_MATCHES} at most are allowed");
        reader.error("spec.rules", message, "split the route");
    }
}

/// Notes what only matters to gateways.
fn note_default_gateways(scope: Option<&str>, reader: &mut Reader<'_>) {
    const FIELD: &str = "spec.useDefaultGateways";
    match scope {
        None | Some("None") => {}
        Some("All") => {
            let message = "gateways are for another controller";
            reader.note(FIELD, message, "nothing is done about it here");
        }
        Some(other) => {
            let message = format!("'{other}' is neither All nor None");
            reader.error(FIELD, message, "write one of them, or leave it out");
        }
    }
}

/// Checks host names and notes that they mean nothing: what a request is for is told by the address that it was sent to.
fn note_hostnames(hostnames: Option<Vec<String>>, reader: &mut Reader<'_>) {
    const FIELD: &str = "spec.hostnames";
    let hostnames = reader.list(hostnames, MAX_HOSTNAMES, FIELD);
    for (index, name) in hostnames.iter().enumerate() {
        reader.hostname(name, true, &format!("{FIELD}[{index}]"));
    }
    if !hostnames.is_empty() {
        let message = "the Service's address says what a request is for; its Host is not compared";
        reader.note(
            FIELD,
            message,
            "the field is ignored for parents that are Services",
        );
    }
}

#[cfg(test)]
mod tests;

//! Which traffic policy is in force where, and what all that is set for one place amounts to.
//!
//! Field by field, the nearest one counts: a route's own stanza, a policy for the rule, for the route, for the Service's
//! port, for the Service. Two policies for the same place may set different fields; where both set one, the older is in
//! force and the younger is not, as a whole.

mod merge;

use std::collections::HashMap;

use mesh_model::{PortPolicy, RequestPolicy, ResourceName};

use crate::world::{
    Condition, ConditionKind, PolicyStatus, Reason, Report, Route, RouteKind, Rule, Service, Sourced,
    TargetRef, TargetStatus, TrafficPolicy,
};

/// The group of Gateway API's routes.
const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// The policies in force, by what they are for.
#[derive(Debug, Default)]
pub(super) struct Policies<'a> {
    in_force: HashMap<Place, Vec<&'a TrafficPolicy>>,
}

/// What a policy may be for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    /// `None`: a Service.
    route: Option<RouteKind>,
    name: ResourceName,
    /// A port or rule of it, by name.
    section: Option<String>,
}

/// Everything that there is, to find targets in.
struct Targets<'a> {
    services: HashMap<&'a ResourceName, &'a Service>,
    routes: HashMap<(RouteKind, &'a ResourceName), &'a Route>,
}

/// Judges every policy at every target.
pub(super) fn join<'a>(
    policies: &[&'a Sourced<TrafficPolicy>],
    services: &[&'a Sourced<Service>],
    routes: &[&'a Sourced<Route>],
    report: &mut Report,
) -> (Policies<'a>, Vec<PolicyStatus>) {
    let targets = Targets {
        services: services
            .iter()
            .map(|service| (&service.value.name, &service.value))
            .collect(),
        routes: routes
            .iter()
            .map(|route| ((route.value.kind, &route.value.name), &route.value))
            .collect(),
    };
    let mut sorted = policies.to_vec();
    sorted.sort_by_key(|policy| (policy.value.age, &policy.value.name));
    let mut in_force = Policies::default();
    let mut statuses = Vec::new();
    for policy in sorted {
        for refusal in &policy.value.refusals {
            let remedy = "the policy has no effect until this is corrected";
            report.warning(
                &policy.origin,
                refusal.field.as_str(),
                refusal.message.as_str(),
                remedy,
            );
        }
        let judge = |(index, target): (usize, &TargetRef)| {
            let judged = targets
                .place(policy, target)
                .and_then(|place| in_force.add(place, &policy.value));
            let (reason, message) = match judged {
                Ok(()) => (Reason::Accepted, "the policy is in force".to_owned()),
                Err(judged) => judged,
            };
            if reason != Reason::Accepted && policy.value.refusals.is_empty() {
                let field = format!("spec.targetRefs[{index}]");
                let remedy = format!(
                    "the policy has no effect there (Accepted is False, {})",
                    reason.label()
                );
                report.warning(&policy.origin, field, message.as_str(), remedy);
            }
            TargetStatus {
                kind: target.kind.clone(),
                name: target.name.clone(),
                section: target.section.clone(),
                accepted: Condition {
                    kind: ConditionKind::Accepted,
                    reason,
                    message,
                },
            }
        };
        let targets = policy.value.targets.iter().enumerate().map(judge).collect();
        statuses.push(PolicyStatus {
            name: policy.value.name.clone(),
            origin: policy.origin.clone(),
            generation: policy.value.generation,
            targets,
        });
    }
    statuses.sort_by(|one, other| one.name.cmp(&other.name));
    (in_force, statuses)
}

// === impl Policies ===

impl<'a> Policies<'a> {
    /// What applies to a port of a Service as a destination.
    pub(super) fn of_port(&self, service: &ResourceName, port_name: &str) -> PortPolicy {
        let layers = || self.of_service(service, port_name);
        PortPolicy {
            request: merge::request(layers().map(|policy| &policy.request)),
            backend: merge::backend(layers().map(|policy| &policy.backend)),
        }
    }

    /// What applies to a rule of a route at a port of a Service.
    pub(super) fn of_rule(
        &self,
        route: &Route,
        rule: &Rule,
        service: &ResourceName,
        port_name: &str,
    ) -> RequestPolicy {
        let place = |section: Option<String>| Place {
            route: Some(route.kind),
            name: route.name.clone(),
            section,
        };
        let of_rule = rule.name.clone().map(|name| place(Some(name)));
        let of_route = of_rule.into_iter().chain([place(None)]);
        let of_route = of_route.flat_map(|place| self.at(&place));
        let all = of_route.chain(self.of_service(service, port_name));
        merge::request(
            [&rule.settings]
                .into_iter()
                .chain(all.map(|policy| &policy.request)),
        )
    }

    /// The nearest first.
    fn of_service(
        &self,
        service: &ResourceName,
        port_name: &str,
    ) -> impl Iterator<Item = &'a TrafficPolicy> + use<'a> {
        let place = |section: Option<String>| Place {
            route: None,
            name: service.clone(),
            section,
        };
        let of_port = self.at(&place(Some(port_name.to_owned())));
        of_port.into_iter().chain(self.at(&place(None)))
    }

    fn at(&self, place: &Place) -> Vec<&'a TrafficPolicy> {
        self.in_force.get(place).cloned().unwrap_or_default()
    }

    /// Puts the policy in force, if no older one sets one of its fields.
    fn add(&mut self, place: Place, policy: &'a TrafficPolicy) -> Result<(), (Reason, String)> {
        let there = self.in_force.entry(place).or_default();
        for other in &*there {
            if let Some(field) = fields(policy).find(|field| fields(other).any(|theirs| theirs == *field)) {
                let message = format!(
                    "TrafficPolicy {} sets {field} for it as well, and goes before",
                    other.name
                );
                return Err((Reason::Conflicted, message));
            }
        }
        there.push(policy);
        Ok(())
    }
}

fn fields(policy: &TrafficPolicy) -> impl Iterator<Item = &'static str> {
    policy.request.fields().chain(policy.backend.fields())
}

// === impl Targets ===

impl Targets<'_> {
    /// What a policy's target stands for; or why it can't be that policy's.
    fn place(&self, policy: &Sourced<TrafficPolicy>, target: &TargetRef) -> Result<Place, (Reason, String)> {
        let policy = &policy.value;
        if let Some(refusal) = policy.refusals.first() {
            let message = format!("{}: {}", refusal.field, refusal.message);
            return Err((Reason::UnsupportedValue, message));
        }
        let route = kind(target)?;
        check_fields(policy, route)?;
        let not_found = |message: String| (Reason::TargetNotFound, message);
        let namespace = policy.name.namespace();
        let missing = || not_found(format!("there is no {} {namespace}/{}", target.kind, target.name));
        let name = ResourceName::new(namespace, &target.name).map_err(|_| missing())?;
        let sections: Vec<&str> = match route {
            None => {
                let service = self.services.get(&name).ok_or_else(missing)?;
                service.ports.iter().map(|port| port.name.as_str()).collect()
            }
            Some(kind) => {
                let route = self.routes.get(&(kind, &name)).ok_or_else(missing)?;
                route
                    .rules
                    .iter()
                    .filter_map(|rule| rule.name.as_deref())
                    .collect()
            }
        };
        if let Some(section) = &target.section
            && !sections.contains(&section.as_str())
        {
            let what = if route.is_none() { "port" } else { "rule" };
            let message = format!("{} {name} has no {what} named '{section}'", target.kind);
            return Err(not_found(message));
        }
        Ok(Place {
            route,
            name,
            section: target.section.clone(),
        })
    }
}

/// The kind of a target; `None`: a Service.
fn kind(target: &TargetRef) -> Result<Option<RouteKind>, (Reason, String)> {
    let kinds = [RouteKind::Grpc, RouteKind::Http, RouteKind::Tls, RouteKind::Tcp];
    let route = kinds.into_iter().find(|kind| kind.label() == target.kind);
    let group = if route.is_some() { GATEWAY_GROUP } else { "" };
    let is_group = target.group.as_deref().is_none_or(|written| written == group);
    if is_group && (route.is_some() || target.kind == "Service") {
        return Ok(route);
    }
    let written = target.group.as_deref().unwrap_or_default();
    let message = format!(
        "'{}' of group '{written}' can't have a TrafficPolicy; a Service (group ''), an HTTPRoute or a GRPCRoute \
         (group {GATEWAY_GROUP}) can",
        target.kind
    );
    Err((Reason::UnsupportedValue, message))
}

/// What a policy for such a target may set.
fn check_fields(policy: &TrafficPolicy, route: Option<RouteKind>) -> Result<(), (Reason, String)> {
    let unsupported = |message: String| Err((Reason::UnsupportedValue, message));
    match route {
        None => Ok(()),
        Some(RouteKind::Http | RouteKind::Grpc) => match policy.backend.fields().next() {
            Some(field) => unsupported(format!(
                "{field} is about endpoints: set it for the Service, not for a route"
            )),
            None => Ok(()),
        },
        Some(kind @ (RouteKind::Tls | RouteKind::Tcp)) => unsupported(format!(
            "the connections of a {} have no policy but their Service's: make that the target",
            kind.label()
        )),
    }
}

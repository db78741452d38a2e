//! Joins inputs into the resources that nodes are told, and finds what does not fit together.
//!
//! Pure: the same inputs give the same resources and the same problems in the same order. Everything is looked at
//! even after the first error, so that one pass names all of them.

mod address;
mod cgroup;
mod endpoint;
mod enrolment;
mod policy;
mod protocol;
mod route;
mod service;
mod workload;

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use mesh_model::TrustDomain;

use self::address::Addresses;
use super::{Inputs, Origin, Problem, Report, Resources, Severity, Sourced, Statuses};

/// What became of some inputs.
#[derive(Debug, Clone, Default)]
pub struct Joined {
    /// The resources. Not to be used when there is an error among the problems.
    pub resources: Resources,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What became of each route and traffic policy.
    pub statuses: Statuses,
}

/// Joins the inputs.
pub fn join(inputs: &Inputs, trust_domain: &TrustDomain) -> Joined {
    let mut report = Report::default();
    let namespaces = enrolment::namespaces(&inputs.namespaces, &mut report);
    let workloads = unique(&inputs.workloads, |workload| &workload.name, &mut report);
    let services = unique(&inputs.services, |service| &service.name, &mut report);
    let slices = unique(&inputs.slices, |slice| &slice.name, &mut report);
    let mut resources = Resources::default();
    for workload in &workloads {
        let enrolled = enrolment::is_enrolled(workload, &namespaces, &mut report);
        if let Some(joined) = workload::join(workload, enrolled, trust_domain, &mut report) {
            resources.workloads.insert(joined.name.clone(), joined);
        }
    }
    let addresses = Addresses::of(&workloads, &mut report);
    cgroup::check(&workloads, &mut report);
    let routes = unique(&inputs.routes, |route| (route.kind, &route.name), &mut report);
    let policies = unique(&inputs.policies, |policy| &policy.name, &mut report);
    let (policies, policy_statuses) = policy::join(&policies, &services, &routes, &mut report);
    for service in &services {
        let joined = service::join(service, &policies, &mut report);
        resources.services.insert(joined.name.clone(), joined);
    }
    addresses.check_services(&services, &mut report);
    resources.endpoints = endpoint::join(&services, &slices, &workloads, &addresses, &mut report);
    let (joined, route_statuses) = route::join(&routes, &resources.services, &policies, &mut report);
    resources.routes = joined;
    Joined {
        resources,
        problems: report.into_problems(),
        statuses: Statuses {
            routes: route_statuses,
            policies: policy_statuses,
        },
    }
}

// === impl Joined ===

impl Joined {
    /// Whether the resources may be used.
    pub fn is_usable(&self) -> bool {
        self.problems
            .iter()
            .all(|problem| problem.severity != Severity::Error)
    }
}

/// The resources with the first claim on their name, and an error for each later one.
fn unique<'a, T, N: Eq + Hash>(
    inputs: &'a [Sourced<T>],
    name: impl Fn(&'a T) -> N,
    report: &mut Report,
) -> Vec<&'a Sourced<T>> {
    let mut first: HashMap<N, &Origin> = HashMap::new();
    let mut kept = Vec::with_capacity(inputs.len());
    for input in inputs {
        if let Some(other) = first.get(&name(&input.value)) {
            let message = format!("{} is also defined at {}", input.origin.resource, other.place());
            report.error(
                &input.origin,
                "metadata.name",
                message,
                "remove one of them or rename it",
            );
            continue;
        }
        first.insert(name(&input.value), &input.origin);
        kept.push(input);
    }
    kept
}

/// Reports numbers or names that occur twice in a list of ports.
fn check_ports<'a>(
    origin: &Origin,
    ports: impl Iterator<Item = (String, u16, &'a str)>,
    report: &mut Report,
) {
    let (mut numbers, mut names) = (HashSet::new(), HashSet::new());
    for (field, port, name) in ports {
        if !numbers.insert(port) {
            let message = format!("port {port} is listed twice");
            report.error(
                origin,
                format!("{field}.port"),
                message,
                "list each TCP port once",
            );
        }
        if !name.is_empty() && !names.insert(name) {
            let message = format!("the name '{name}' is given to two ports");
            report.error(
                origin,
                format!("{field}.name"),
                message,
                "give each port a name of its own",
            );
        }
    }
}

#[cfg(test)]
mod tests;

//! The conditions of a route, and the warnings for those that are not true.

use super::{Attachment, Candidate, Services, Taken, Verdict, backend};
use crate::world::{
    BackendRef, BackendStatus, Condition, ConditionKind, ParentRef, ParentStatus, Reason, Report, RouteKind,
    RouteStatus, RuleStatus,
};

/// What became of the route.
pub(super) fn of(candidate: &Candidate<'_>, services: &Services) -> RouteStatus {
    let route = candidate.route;
    let resolved = resolved(candidate);
    let parents = route.parents.iter().zip(&candidate.parents);
    let rules = route.rules.iter().enumerate();
    RouteStatus {
        kind: route.kind,
        name: route.name.clone(),
        origin: candidate.origin.clone(),
        generation: route.generation,
        hostnames: route.hostnames.clone(),
        parents: parents
            .map(|(parent, verdict)| of_parent(parent, verdict, &resolved))
            .collect(),
        rules: rules
            .map(|(place, rule)| RuleStatus {
                name: rule.label(place),
                matches: rule.matches.clone(),
                backends: rule
                    .backends
                    .iter()
                    .map(|given| BackendStatus {
                        target: written(&given.backend),
                        weight: given.weight,
                        error: backend::error(route.kind, &given.backend, services),
                    })
                    .collect(),
            })
            .collect(),
    }
}

/// Says everything about the route that is not as its author wants it.
pub(super) fn warn(candidate: &Candidate<'_>, report: &mut Report) {
    let (origin, route) = (candidate.origin, candidate.route);
    for refusal in &route.refusals {
        let remedy = "the route has no effect until this is corrected";
        report.warning(origin, refusal.field.as_str(), refusal.message.as_str(), remedy);
    }
    for (parent, verdict) in route.parents.iter().zip(&candidate.parents) {
        match &verdict.outcome {
            // Said above, once for all parents.
            Err(_) if !route.refusals.is_empty() => {}
            Err((reason, message)) => {
                let remedy = format!(
                    "the route has no effect there (Accepted is False, {})",
                    reason.label()
                );
                report.warning(origin, parent.field.as_str(), message.as_str(), remedy);
            }
            Ok(attachment) => {
                for taken in &verdict.taken {
                    let message = format!(
                        "the route has no effect at port {} of Service {}: {}",
                        taken.port,
                        attachment.service,
                        taken.why()
                    );
                    let remedy = "name the port under parentRefs, or remove one of the routes";
                    report.warning(origin, parent.field.as_str(), message, remedy);
                }
            }
        }
    }
    for problem in &candidate.problems {
        let consequence = match route.kind {
            _ if problem.is_mirror => "no copies are sent",
            RouteKind::Http | RouteKind::Grpc => "its share of the requests is answered with an error",
            RouteKind::Tls | RouteKind::Tcp => "its share of the connections is refused",
        };
        let remedy = format!(
            "{consequence} (ResolvedRefs is False, {})",
            problem.reason.label()
        );
        report.warning(origin, problem.field.as_str(), problem.message.as_str(), remedy);
    }
}

fn of_parent(parent: &ParentRef, verdict: &Verdict, resolved: &Condition) -> ParentStatus {
    let attachment = verdict.outcome.as_ref().ok();
    let (reason, message) = match &verdict.outcome {
        Ok(attachment) => (Reason::Accepted, attachment.describe(&verdict.taken)),
        Err((reason, message)) => (*reason, message.clone()),
    };
    ParentStatus {
        service: format!("{}/{}", parent.namespace, parent.name),
        section: parent.section.clone(),
        port: parent.port,
        ports: attachment
            .map(|attachment| attachment.ports.clone())
            .unwrap_or_default(),
        consumer: attachment.and_then(|attachment| attachment.consumer.clone()),
        conditions: vec![
            Condition {
                kind: ConditionKind::Accepted,
                reason,
                message,
            },
            resolved.clone(),
        ],
    }
}

/// Whether all references lead somewhere. The first one that does not gives the reason.
fn resolved(candidate: &Candidate<'_>) -> Condition {
    let problems = candidate.problems.iter();
    let messages: Vec<String> = problems
        .map(|problem| format!("{}: {}", problem.field, problem.message))
        .collect();
    match candidate.problems.first() {
        None => Condition {
            kind: ConditionKind::ResolvedRefs,
            reason: Reason::ResolvedRefs,
            message: "all references lead somewhere".to_owned(),
        },
        Some(first) => Condition {
            kind: ConditionKind::ResolvedRefs,
            reason: first.reason,
            message: messages.join("; "),
        },
    }
}

/// The backend as the manifest has it.
fn written(backend: &BackendRef) -> String {
    let kind = match (backend.group.as_str(), backend.kind.as_str()) {
        ("", "Service") => String::new(),
        (group, kind) => format!("{kind}.{group} "),
    };
    let port = backend.port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{kind}{}/{}{port}", backend.namespace, backend.name)
}

// === impl Attachment ===

impl Attachment {
    fn describe(&self, taken: &[Taken]) -> String {
        let ports: Vec<String> = self.ports.iter().map(ToString::to_string).collect();
        let plural = if ports.len() == 1 { "" } else { "s" };
        let consumer = self.consumer.as_ref();
        let clients = consumer.map(|namespace| format!(", for clients in namespace {namespace}"));
        let taken = taken
            .iter()
            .map(|taken| format!("; without effect at port {}: {}", taken.port, taken.why()));
        let exceptions: Vec<String> = clients.into_iter().chain(taken).collect();
        format!(
            "at port{plural} {} of Service {}{}",
            ports.join(", "),
            self.service,
            exceptions.concat()
        )
    }
}

// === impl Taken ===

impl Taken {
    fn why(&self) -> String {
        let (kind, name) = &self.by;
        if *kind == RouteKind::Tcp {
            format!("TCPRoute {name} is older, and takes all connections")
        } else {
            format!(
                "{} {name} is there, and goes before a route of this kind",
                kind.label()
            )
        }
    }
}

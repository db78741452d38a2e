//! Routes to the rules in force at each port of each Service, and the conditions that say so.
//!
//! A route of its Service's namespace is for all clients (a producer's), one of another namespace for clients in its
//! own (a consumer's); the two do not mix (GEP-1426). Routes of one kind at one port merge, in order of their age and
//! name; of several kinds one wins (GEP-1294). The result does not depend on the order of the inputs.

mod backend;
mod build;
mod parent;
mod status;

use std::collections::BTreeMap;

use mesh_model::{ResourceName, Service, ServiceRoutes};

use self::backend::RefProblem;
use self::parent::Attachment;
use super::policy::Policies;
use crate::world::{Reason, Report, Route, RouteKind, RouteStatus, Sourced};

/// The Services as they are joined, by name.
pub(super) type Services = BTreeMap<ResourceName, Service>;

/// A route on its way.
struct Candidate<'a> {
    origin: &'a crate::world::Origin,
    route: &'a Route,
    /// One for each parent that is a Service.
    parents: Vec<Verdict>,
    /// References that lead nowhere.
    problems: Vec<RefProblem>,
}

/// What becomes of a route at one parent.
struct Verdict {
    /// Where it applies, or why it doesn't.
    outcome: Result<Attachment, (Reason, String)>,
    /// Ports at which it would apply but for another route, with that route.
    taken: Vec<Taken>,
}

/// A port that another route has.
struct Taken {
    port: u16,
    by: (RouteKind, ResourceName),
}

/// One port of a Service for one kind of client: the clients' namespace, for consumer routes.
type Place = (ResourceName, u16, Option<String>);

/// Joins all routes.
pub(super) fn join(
    routes: &[&Sourced<Route>],
    services: &Services,
    policies: &Policies<'_>,
    report: &mut Report,
) -> (BTreeMap<ResourceName, ServiceRoutes>, Vec<RouteStatus>) {
    let mut sorted = routes.to_vec();
    sorted.sort_by_key(|route| (route.value.age, &route.value.name, route.value.kind));
    let mut candidates: Vec<Candidate<'_>> = sorted
        .iter()
        .map(|route| Candidate::new(route, services))
        .collect();
    settle_conflicts(&mut candidates);
    let resources = build::services(&candidates, services, policies);
    settle_tcp(&mut candidates);
    candidates.sort_by_key(|candidate| (candidate.route.kind, &candidate.route.name));
    for candidate in &candidates {
        status::warn(candidate, report);
    }
    let statuses = candidates
        .iter()
        .map(|candidate| status::of(candidate, services))
        .collect();
    (resources, statuses)
}

/// At each place the kind that goes before the others wins; the losers' attachments end there.
fn settle_conflicts(candidates: &mut [Candidate<'_>]) {
    let mut winners: BTreeMap<Place, (RouteKind, ResourceName)> = BTreeMap::new();
    for candidate in &*candidates {
        for place in candidate.places() {
            let challenger = (candidate.route.kind, candidate.route.name.clone());
            let winner = winners.entry(place).or_insert_with(|| challenger.clone());
            // Of one kind the first one, which is the oldest, is named.
            if challenger.0 < winner.0 {
                *winner = challenger;
            }
        }
    }
    for candidate in candidates {
        let kind = candidate.route.kind;
        for verdict in &mut candidate.parents {
            verdict.give_up(|place| winners.get(place).filter(|winner| winner.0 != kind));
        }
    }
}

/// Of TCPRoutes at one place the oldest one is used: nothing tells connections apart. The others stay accepted, as they
/// do at a Gateway, and are told so.
fn settle_tcp(candidates: &mut [Candidate<'_>]) {
    let mut first: BTreeMap<Place, ResourceName> = BTreeMap::new();
    for candidate in candidates
        .iter_mut()
        .filter(|candidate| candidate.route.kind == RouteKind::Tcp)
    {
        let name = &candidate.route.name;
        for verdict in &mut candidate.parents {
            let Ok(attachment) = &verdict.outcome else {
                continue;
            };
            for place in attachment.places() {
                let used = first.entry(place.clone()).or_insert_with(|| name.clone());
                if used != name {
                    verdict.taken.push(Taken {
                        port: place.1,
                        by: (RouteKind::Tcp, used.clone()),
                    });
                }
            }
        }
    }
}

// === impl Candidate ===

impl<'a> Candidate<'a> {
    fn new(route: &'a Sourced<Route>, services: &Services) -> Self {
        let value = &route.value;
        let judge = |parent| Verdict {
            outcome: match refused(value) {
                Some(refused) => Err(refused),
                None => parent::attach(value, parent, services),
            },
            taken: Vec::new(),
        };
        Self {
            origin: &route.origin,
            route: value,
            parents: value.parents.iter().map(judge).collect(),
            problems: backend::problems(value, services),
        }
    }

    fn places(&self) -> impl Iterator<Item = Place> {
        let attachments = self
            .parents
            .iter()
            .filter_map(|verdict| verdict.outcome.as_ref().ok());
        attachments.flat_map(Attachment::places)
    }
}

/// Why the route has no effect anywhere, if so.
fn refused(route: &Route) -> Option<(Reason, String)> {
    let first = route.refusals.first()?;
    let reason = if first.is_of_filters {
        Reason::IncompatibleFilters
    } else {
        Reason::UnsupportedValue
    };
    let all = route.refusals.iter();
    let messages: Vec<String> = all
        .map(|refusal| format!("{}: {}", refusal.field, refusal.message))
        .collect();
    Some((reason, messages.join("; ")))
}

// === impl Verdict ===

impl Verdict {
    /// Ends the attachment at the places that another one has.
    fn give_up<'w>(&mut self, winner: impl Fn(&Place) -> Option<&'w (RouteKind, ResourceName)>) {
        let Ok(attachment) = &mut self.outcome else { return };
        for place in attachment.places() {
            if let Some(by) = winner(&place) {
                attachment.ports.retain(|port| *port != place.1);
                self.taken.push(Taken {
                    port: place.1,
                    by: by.clone(),
                });
            }
        }
        if attachment.ports.is_empty()
            && let Some(Taken { port, by }) = self.taken.first()
        {
            let message = format!(
                "{} {} is in force at port {port} of Service {}, and goes before a route of this kind",
                by.0.label(),
                by.1,
                attachment.service
            );
            self.outcome = Err((Reason::Conflicted, message));
        }
    }
}

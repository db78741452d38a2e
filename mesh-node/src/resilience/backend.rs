//! A port of a Service as a destination: its endpoints, the choice among them, and what may be under way to them.

use std::cell::Cell;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use mesh_model::{AppProtocol, Locality, PortPolicy, ResourceName, Snapshot};

use super::admission::{Counts, Overflow};
use super::clock::Moment;
use super::endpoint::EndpointState;
use super::health::Phase;
use super::members::{Member, Members};
use super::outlier::Ejections;
use super::pool::{Choice, Seen, Takes};

/// A port of a Service as a destination. All of this node's clients share the one value.
#[derive(Debug)]
pub struct Backend {
    service: ResourceName,
    port: u16,
    members: ArcSwap<Members>,
    pub(super) counts: Counts,
    pub(super) ejections: Ejections,
}

/// For whom an endpoint is chosen.
#[derive(Debug, Clone, Copy)]
pub struct Pick<'a> {
    /// The address that the client asked for: endpoints of its family go first.
    pub asked: SocketAddr,
    /// Where the client runs.
    pub locality: &'a Locality,
    /// What consistent hashing goes by ([`super::stable_hash`]); `None`: the request has no such thing, and goes to any.
    pub hash: Option<u64>,
    /// The endpoint that the client was at before ([`EndpointState::affinity`]).
    pub affinity: Option<u64>,
    /// What was tried for the request before.
    pub tried: &'a [Arc<EndpointState>],
    /// What it is chosen for.
    pub demand: Demand,
}

/// What an endpoint is chosen for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// A request, for which there may be a connection already.
    Request,
    /// A connection of its own.
    Connection,
}

/// Why there is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// None is ready.
    #[error("it has no ready endpoint; check that its workloads run and that its selector matches them")]
    NoEndpoints,
    /// The only ones that are ready name a workload that the control plane has not described.
    #[error(
        "nothing is known of the workload {0} that its endpoint names; the control plane's log may say why"
    )]
    Undescribed(ResourceName),
    /// All were tried. A caller may try them again by leaving `tried` empty.
    #[error("all of its endpoints were tried")]
    Tried,
    /// All are at their limit.
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

/// The policy in force. Hold it for as long as one decision takes.
#[derive(Debug)]
pub struct PolicyGuard(Guard<Arc<Members>>);

/// An endpoint as it is now, for people.
#[derive(Debug, Clone)]
pub struct EndpointView {
    /// The endpoint.
    pub state: Arc<EndpointState>,
    /// Whether it may be chosen.
    pub is_ready: bool,
    /// For how long it is ejected; zero when it is about to show whether it is well again.
    pub ejected_for: Option<Duration>,
}

/// Of a port that is not declared.
static NO_POLICY: LazyLock<PortPolicy> = LazyLock::new(PortPolicy::default);

// === impl Backend ===

impl Backend {
    pub(super) fn new(service: ResourceName, port: u16, snapshot: &Snapshot) -> Arc<Self> {
        Arc::new_cyclic(|backend| {
            let members = Members::build(snapshot, (&service, port), backend, None, Moment::now());
            Self {
                service,
                port,
                members: ArcSwap::from_pointee(members),
                counts: Counts::default(),
                ejections: Ejections::default(),
            }
        })
    }

    /// The Service and its port.
    pub fn name(&self) -> (&ResourceName, u16) {
        (&self.service, self.port)
    }

    /// Whether there is such a Service, and it has the port.
    pub fn exists(&self) -> bool {
        self.members().port.is_some()
    }

    /// What is spoken there.
    pub fn protocol(&self) -> AppProtocol {
        let members = self.members();
        let port = members.port.as_ref();
        port.map_or(AppProtocol::Undeclared, |port| port.protocol)
    }

    /// The policy in force.
    pub fn policy(&self) -> PolicyGuard {
        PolicyGuard(self.members())
    }

    /// An endpoint for a request or a connection: one that is ready, was not tried, is not ejected and has room. One that took
    /// no connection a moment ago is chosen when there is no other.
    ///
    /// A limit of one endpoint counts here and not when the request begins: two that choose at the same moment may
    /// both get the last place. Limits of the whole backend are exact.
    pub fn choose(&self, pick: &Pick<'_>) -> Result<Arc<EndpointState>, Unavailable> {
        self.choose_at(pick, Moment::now())
    }

    pub(super) fn choose_at(&self, pick: &Pick<'_>, now: Moment) -> Result<Arc<EndpointState>, Unavailable> {
        let members = self.members();
        let mut choice = Choice {
            pick,
            policy: &members.policy().unwrap_or(&NO_POLICY).backend,
            now,
            takes: Takes::Well,
            seen: Cell::default(),
        };
        let remembered = pick.affinity.and_then(|affinity| members.remembered(affinity));
        if let Some(remembered) = remembered.filter(|state| choice.is_free(state)) {
            return Ok(Arc::clone(remembered));
        }
        loop {
            if let Some(chosen) = members.choose(&choice, self.ejections.are_there()) {
                return Ok(Arc::clone(chosen));
            }
            choice.takes = match choice.seen.take() {
                // What is full is not relieved by what is not well.
                Seen {
                    full: Some(overflow), ..
                } => return Err(overflow.into()),
                Seen { doubtful: true, .. } => Takes::Doubtful,
                Seen { tried: true, .. } => return Err(Unavailable::Tried),
                // Only ejected ones are left, for the others have gone since. Ejection never takes the last one away.
                Seen { ejected: true, .. } => Takes::Ejected,
                _ => break,
            };
        }
        Err(match &members.undescribed {
            Some(name) => Unavailable::Undescribed(name.clone()),
            None => Unavailable::NoEndpoints,
        })
    }

    /// All endpoints as they are now, by address.
    pub fn endpoints(&self) -> Vec<EndpointView> {
        let now = Moment::now();
        let members = self.members();
        let view = |member: &Member| EndpointView {
            state: Arc::clone(&member.state),
            is_ready: member.is_ready,
            ejected_for: match member.state.health.phase(now) {
                Phase::Healthy => None,
                Phase::Ejected { until } => Some(until.since(now)),
                Phase::Probing => Some(Duration::ZERO),
            },
        };
        let mut endpoints: Vec<EndpointView> = members.all().map(view).collect();
        endpoints.sort_unstable_by_key(|endpoint| endpoint.state.address);
        endpoints
    }

    pub(super) fn members(&self) -> Guard<Arc<Members>> {
        self.members.load()
    }

    /// Takes over what the snapshot says. One caller at a time.
    pub(super) fn rebuild(self: &Arc<Self>, snapshot: &Snapshot) {
        let former = self.members.load_full();
        let weak = Arc::downgrade(self);
        let name = (&self.service, self.port);
        let next = Members::build(snapshot, name, &weak, Some(&former), Moment::now());
        let next = Arc::new(next);
        self.members.store(Arc::clone(&next));
        former
            .all()
            .filter(|member| !next.contains(&member.state))
            .for_each(|member| member.state.leave());
        self.review_ejections();
        self.limits_changed();
    }

    fn limits_changed(&self) {
        self.counts.connections.change();
        self.members()
            .all()
            .for_each(|member| member.state.connections.change());
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.members().all().for_each(|member| member.state.leave());
    }
}

// === impl PolicyGuard ===

impl Deref for PolicyGuard {
    type Target = PortPolicy;

    fn deref(&self) -> &PortPolicy {
        self.0.policy().unwrap_or(&NO_POLICY)
    }
}

#[cfg(test)]
mod tests;

//! A port of a Service as a destination: its endpoints, the choice among them, and what may be under way to them.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use arc_swap::{ArcSwap, Guard};
use mesh_model::{AppProtocol, Locality, PortPolicy, ResourceName, Snapshot};

use super::admission::{Counts, Overflow};
use super::endpoint::EndpointState;
use super::members::Members;

/// A port of a Service as a destination. All of this node's clients share the one value.
#[derive(Debug)]
pub struct Backend {
    service: ResourceName,
    port: u16,
    members: ArcSwap<Members>,
    pub(super) counts: Counts,
}

/// For whom an endpoint is chosen.
#[derive(Debug, Clone, Copy)]
pub struct Pick<'a> {
    /// The address that the client asked for: endpoints of its family go first.
    pub asked: SocketAddr,
    /// Where the client runs.
    pub locality: &'a Locality,
    /// What consistent hashing goes by; `None`: the request has no such thing, and goes to any.
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

/// Of a port that is not declared.
static NO_POLICY: LazyLock<PortPolicy> = LazyLock::new(PortPolicy::default);

// === impl Backend ===

impl Backend {
    pub(super) fn new(service: ResourceName, port: u16, snapshot: &Snapshot) -> Self {
        let members = Members::build(snapshot, &service, port, &Members::default());
        Self {
            service,
            port,
            members: ArcSwap::from_pointee(members),
            counts: Counts::default(),
        }
    }

    /// The Service and its port.
    pub fn name(&self) -> (&ResourceName, u16) {
        (&self.service, self.port)
    }

    /// Whether there is such a Service, and it has the port.
    pub fn exists(&self) -> bool {
        self.members.load().port.is_some()
    }

    /// What is spoken there.
    pub fn protocol(&self) -> AppProtocol {
        let members = self.members.load();
        members
            .port
            .as_ref()
            .map_or(AppProtocol::Undeclared, |port| port.protocol)
    }

    /// The policy in force.
    pub fn policy(&self) -> PolicyGuard {
        PolicyGuard(self.members.load())
    }

    /// An endpoint for a request or a connection.
    pub fn choose(&self, pick: &Pick<'_>) -> Result<Arc<EndpointState>, Unavailable> {
        let members = self.members.load();
        let is_free = |e: &EndpointState| !pick.tried.iter().any(|tried| std::ptr::eq(&raw const **tried, e));
        let is_same_family = |e: &EndpointState| e.address.is_ipv4() == pick.asked.is_ipv4();
        less_loaded(&members.ready, |e| is_free(e) && is_same_family(e))
            .or_else(|| less_loaded(&members.ready, is_free))
            .cloned()
            .ok_or_else(|| match &members.undescribed {
                _ if !members.ready.is_empty() => Unavailable::Tried,
                Some(name) => Unavailable::Undescribed(name.clone()),
                None => Unavailable::NoEndpoints,
            })
    }

    /// Takes over what the snapshot says.
    pub(super) fn rebuild(&self, snapshot: &Snapshot) {
        let former = self.members.load_full();
        let next = Arc::new(Members::build(snapshot, &self.service, self.port, &former));
        self.members.store(Arc::clone(&next));
        for (address, state) in &former.all {
            if !next.all.get(address).is_some_and(|kept| Arc::ptr_eq(kept, state)) {
                state.leave();
            }
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.members.load().all.values().for_each(|state| state.leave());
    }
}

fn less_loaded(
    endpoints: &[Arc<EndpointState>],
    is_candidate: impl Fn(&EndpointState) -> bool,
) -> Option<&Arc<EndpointState>> {
    let candidates = || endpoints.iter().filter(|e| is_candidate(e));
    let count = candidates().count();
    if count == 0 {
        return None;
    }
    let first = fastrand::usize(..count);
    let second = (first + fastrand::usize(1..count.max(2))) % count;
    let (first, second) = (candidates().nth(first)?, candidates().nth(second)?);
    Some(if second.in_flight() < first.in_flight() {
        second
    } else {
        first
    })
}

// === impl PolicyGuard ===

impl Deref for PolicyGuard {
    type Target = PortPolicy;

    fn deref(&self) -> &PortPolicy {
        match &self.0.port {
            Some(port) => &port.policy,
            None => &NO_POLICY,
        }
    }
}

//! What stands behind a Service's port at one moment: immutable, made anew when it changes.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};

use mesh_model::{
    AppProtocol, BackendPolicy, Endpoint, Locality, LocalityPreference, PortPolicy, ResourceName, Snapshot,
};

use super::backend::Backend;
use super::clock::Moment;
use super::endpoint::{EndpointState, WorkloadRef};
use super::hash;
use super::pool::{Choice, Entry, Pool};

/// A level of locality takes all requests as long as this share of its endpoints is healthy, inverted: with 1.4, 71 %
/// (Envoy's overprovisioning factor).
const OVERPROVISIONING: f64 = 1.4;
/// Tells the number that decides on the level from the one that decides on the endpoint.
const LEVEL: u64 = 0x6c65_7665_6c00_0001;

/// What stands behind a Service's port.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// The port as the Service declares it; `None` when there is no such Service or port.
    pub(super) port: Option<Port>,
    /// By address.
    all: HashMap<SocketAddr, Member>,
    /// By what a cookie remembers.
    by_affinity: HashMap<u64, Arc<EndpointState>>,
    /// Endpoints with IPv4 addresses.
    v4: Option<Family>,
    /// Endpoints with IPv6 addresses.
    v6: Option<Family>,
    /// A ready endpoint's workload that is not described, if there is one.
    pub(super) undescribed: Option<ResourceName>,
}

/// What a Service says of its port.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) protocol: AppProtocol,
    pub(super) policy: Arc<PortPolicy>,
}

/// An endpoint and what the control plane says of it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) state: Arc<EndpointState>,
    pub(super) weight: u32,
    /// Whether it may be chosen.
    pub(super) is_ready: bool,
    locality: Locality,
}

/// The endpoints of one address family.
#[derive(Debug)]
pub(super) struct Family {
    /// All of them.
    all: Pool,
    /// By region; none unless locality matters.
    regions: Vec<(String, Pool)>,
    /// By zone.
    zones: Vec<(Locality, Pool)>,
    /// Those without a share of their own.
    last_resort: Pool,
}

/// What, when it changes, changes a backend's members, apart from its Service and endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Dependency {
    /// A workload that an endpoint names.
    Workload(ResourceName),
    /// The workload at an address, for endpoints that name none.
    Address(IpAddr),
}

// === impl Members ===

impl Members {
    /// As the snapshot has it. Endpoints that were there before stay the same values.
    pub(super) fn build(
        snapshot: &Snapshot,
        (service, port): (&ResourceName, u16),
        backend: &Weak<Backend>,
        former: Option<&Members>,
        now: Moment,
    ) -> Self {
        let Some(declared) = snapshot.service(service).and_then(|s| s.port(port)) else {
            return Self::default();
        };
        let mut members = Self {
            port: Some(Port {
                protocol: declared.protocol,
                policy: Arc::clone(&declared.policy),
            }),
            ..Self::default()
        };
        let set = snapshot.endpoints(service);
        for endpoint in set.iter().flat_map(|set| &set.endpoints) {
            let Some(address) = endpoint.target(port) else {
                continue;
            };
            let workload = workload_of(snapshot, endpoint, address);
            let before = former
                .and_then(|former| former.all.get(&address))
                .filter(|before| before.state.workload.is_reached_like(&workload));
            let state = match before {
                Some(before) => Arc::clone(&before.state),
                None => Arc::new(EndpointState::new(address, workload, Weak::clone(backend), now)),
            };
            let member = members.add(endpoint, state);
            if member.is_ready && former.is_some() && !before.is_some_and(|before| before.is_ready) {
                member.state.became_ready(now);
            }
        }
        let policy = &declared.policy.backend;
        members.v4 = members.family(policy, SocketAddr::is_ipv4, former.and_then(|f| f.v4.as_ref()));
        members.v6 = members.family(policy, SocketAddr::is_ipv6, former.and_then(|f| f.v6.as_ref()));
        members
    }

    fn add(&mut self, endpoint: &Endpoint, state: Arc<EndpointState>) -> &Member {
        let is_described = match &state.workload {
            WorkloadRef::Undescribed(name) if endpoint.is_ready => {
                self.undescribed = Some(name.clone());
                false
            }
            WorkloadRef::Undescribed(_) => false,
            WorkloadRef::Known(_) | WorkloadRef::None => true,
        };
        let is_ready = endpoint.is_ready && is_described;
        if is_ready {
            self.by_affinity.insert(state.affinity(), Arc::clone(&state));
        }
        let member = Member {
            weight: endpoint.weight,
            is_ready,
            locality: endpoint.locality.clone(),
            state,
        };
        self.all
            .entry(member.state.address)
            .insert_entry(member)
            .into_mut()
    }

    fn family(
        &self,
        policy: &BackendPolicy,
        is_of_family: impl Fn(&SocketAddr) -> bool,
        former: Option<&Family>,
    ) -> Option<Family> {
        let members: Vec<&Member> = self
            .all
            .values()
            .filter(|m| is_of_family(&m.state.address))
            .collect();
        (!members.is_empty()).then(|| Family::new(&members, policy, former))
    }

    pub(super) fn policy(&self) -> Option<&PortPolicy> {
        self.port.as_ref().map(|port| &*port.policy)
    }

    /// All, ready or not.
    pub(super) fn all(&self) -> impl Iterator<Item = &Member> {
        self.all.values()
    }

    /// Those that may be chosen.
    pub(super) fn ready(&self) -> impl Iterator<Item = &Arc<EndpointState>> {
        self.all()
            .filter(|member| member.is_ready)
            .map(|member| &member.state)
    }

    /// Whether the very same endpoint is among them.
    pub(super) fn contains(&self, state: &Arc<EndpointState>) -> bool {
        let member = self.all.get(&state.address);
        member.is_some_and(|member| Arc::ptr_eq(&member.state, state))
    }

    /// The endpoint that a cookie remembers.
    pub(super) fn remembered(&self, affinity: u64) -> Option<&Arc<EndpointState>> {
        self.by_affinity.get(&affinity)
    }

    /// An endpoint for the choice: of the family that was asked for first, and with a share of its own first.
    pub(super) fn choose(&self, choice: &Choice<'_>, are_some_ejected: bool) -> Option<&Arc<EndpointState>> {
        let (same, other) = if choice.pick.asked.ip().to_canonical().is_ipv4() {
            (&self.v4, &self.v6)
        } else {
            (&self.v6, &self.v4)
        };
        for family in [same, other].into_iter().flatten() {
            if let Some(chosen) = family.choose(choice, are_some_ejected) {
                return Some(chosen);
            }
            let seen = choice.seen.get();
            // Both families' addresses are mostly the same workloads': who is full, or does badly, is not relieved by being
            // asked at its other address.
            if seen.full.is_some() || seen.ejected {
                break;
            }
        }
        // Nor is it by what was taken out of service.
        if choice.seen.get().full.is_some() {
            return None;
        }
        let mut families = [same, other].into_iter().flatten();
        families.find_map(|family| family.last_resort.choose(choice))
    }
}

/// What a Service's members depend on, apart from the Service and its endpoints.
pub(super) fn dependencies(snapshot: &Snapshot, service: &ResourceName) -> HashSet<Dependency> {
    let set = snapshot.endpoints(service);
    let dependency = |endpoint: &Endpoint| match &endpoint.workload {
        Some(name) => Dependency::Workload(name.clone()),
        None => Dependency::Address(endpoint.address.to_canonical()),
    };
    set.iter()
        .flat_map(|set| set.endpoints.iter().map(dependency))
        .collect()
}

fn workload_of(snapshot: &Snapshot, endpoint: &Endpoint, address: SocketAddr) -> WorkloadRef {
    match &endpoint.workload {
        Some(name) => match snapshot.workload(name) {
            Some(workload) => WorkloadRef::Known(Arc::clone(workload)),
            None => WorkloadRef::Undescribed(name.clone()),
        },
        None => match snapshot.workload_at(address) {
            Some(workload) => WorkloadRef::Known(Arc::clone(workload)),
            None => WorkloadRef::None,
        },
    }
}

// === impl Family ===

impl Family {
    fn new(members: &[&Member], policy: &BackendPolicy, former: Option<&Family>) -> Self {
        let pool = |is_in: &dyn Fn(&Member) -> bool, former: Option<&Pool>| {
            let inside = || members.iter().filter(|m| m.weight > 0 && is_in(m));
            let entries = inside()
                .filter(|m| m.is_ready)
                .map(|m| m.entry(m.weight))
                .collect();
            Pool::new(entries, inside().count(), policy, former)
        };
        let (mut regions, mut zones) = (Vec::new(), Vec::new());
        if policy.locality == LocalityPreference::Failover {
            let mut places: Vec<&Locality> = members.iter().map(|member| &member.locality).collect();
            places.sort_unstable_by_key(|locality| (locality.region(), locality.zone()));
            places.dedup();
            for place in places.iter().filter(|place| !place.zone().is_empty()) {
                let before = former.and_then(|f| f.zones.iter().find(|(zone, _)| zone == *place));
                let zone = pool(&|m| m.locality == **place, before.map(|(_, pool)| pool));
                zones.push(((*place).clone(), zone));
            }
            places.dedup_by_key(|locality| locality.region());
            for place in places.iter().filter(|place| !place.region().is_empty()) {
                let before =
                    former.and_then(|f| f.regions.iter().find(|(region, _)| *region == place.region()));
                let region = pool(
                    &|m| m.locality.region() == place.region(),
                    before.map(|(_, pool)| pool),
                );
                regions.push((place.region().to_owned(), region));
            }
        }
        let resort: Vec<Entry> = members
            .iter()
            .filter(|m| m.weight == 0 && m.is_ready)
            .map(|m| m.entry(1))
            .collect();
        Self {
            all: pool(&|_| true, former.map(|f| &f.all)),
            regions,
            zones,
            last_resort: Pool::new(resort, 0, policy, former.map(|f| &f.last_resort)),
        }
    }

    /// Of the client's zone, its region, or anywhere. A level takes over what the one before cannot bear.
    fn choose(&self, choice: &Choice<'_>, are_some_ejected: bool) -> Option<&Arc<EndpointState>> {
        if self.zones.is_empty() && self.regions.is_empty() {
            return self.all.choose(choice);
        }
        let pick = choice.pick;
        let zone = self.zones.iter().find(|(zone, _)| zone == pick.locality);
        let region = self
            .regions
            .iter()
            .find(|(region, _)| *region == pick.locality.region());
        // Where a key decides, it decides on the level too, or it would not lead to one endpoint.
        let mut point = match pick.hash {
            Some(key) => hash::unit(hash::join(key, LEVEL)),
            None => fastrand::f64(),
        };
        let levels = [zone.map(|(_, pool)| pool), region.map(|(_, pool)| pool)];
        for level in levels.into_iter().flatten() {
            let share = level.healthy_share(choice.now, are_some_ejected) * OVERPROVISIONING;
            if point >= share {
                point -= share;
                continue;
            }
            if let Some(chosen) = level.choose(choice) {
                return Some(chosen);
            }
            // Nothing takes it here: the next level does, if it can.
            point = 0.0;
        }
        self.all.choose(choice)
    }
}

// === impl Member ===

impl Member {
    fn entry(&self, weight: u32) -> Entry {
        Entry {
            state: Arc::clone(&self.state),
            weight,
        }
    }
}

//! Connections past the proxy: the grants that the connect hooks read, and the connections that came of them.
//!
//! Invariant: a grant is in force only under this start of the node, under the enrolment of its workload, and while the
//! lease is renewed. Decides nothing: who may go past the proxy, and when that ends, comes from above.

use std::{
    fmt, fs, io,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use aya::maps::{Map, MapData, RingBuf};
use mesh_abi::{
    Address, DirectFlow, Grant, GrantEndpoint, GrantKey, MAX_ENDPOINTS, MapLayout, NetPort, PICKS, Settings,
    map,
};
use parking_lot::Mutex;

use super::{Capture, error::CaptureError, map::KernelMap, sys};

/// Endpoints that one grant may have.
pub const MAX_DIRECT_ENDPOINTS: usize = MAX_ENDPOINTS;
/// Grants that there may be at once.
pub const MAX_DIRECT_GRANTS: usize = MapLayout::MAX_GRANTS as usize;

/// For which workload and destination a grant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DirectKey {
    /// Id of the workload's cgroup, from [`Capture::cgroup_id`].
    pub cgroup: u64,
    /// What its programs ask for.
    pub destination: SocketAddr,
}

/// An endpoint of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectEndpoint {
    /// Where it listens, as the client reaches it; of the destination's address family.
    pub address: SocketAddr,
    /// Slot of the workload there.
    pub slot: u32,
    /// Its share among its peers; not 0.
    pub weight: u32,
}

/// How far a connection past the proxy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectState {
    /// Somebody calls connect(), or that failed before anything was sent.
    Reserved,
    /// The SYN is on its way.
    Connecting,
    /// It has come about.
    Open,
    /// It is over; `is_broken` when not by both ends' leave.
    Closed {
        /// Whether one of the ends, or the node, broke it off.
        is_broken: bool,
    },
    /// It never came about.
    Failed,
    /// Its end will not be told: it is to be ended.
    Lost,
}

/// A connection past the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectConnection {
    /// The kernel's number for the client's socket.
    pub cookie: u64,
    /// Id of the client workload's cgroup.
    pub cgroup: u64,
    /// Cookie of the client's network namespace.
    pub netns_cookie: u64,
    /// Slot of the client workload, if it was opened under this start of the node.
    pub slot: Option<u32>,
    /// Slot of the workload at the endpoint; likewise.
    pub endpoint_slot: Option<u32>,
    /// The client's address. Meaningless while reserved.
    pub source: SocketAddr,
    /// What it asked for.
    pub destination: SocketAddr,
    /// Where it went.
    pub endpoint: SocketAddr,
    /// How far it is.
    pub state: DirectState,
    /// When connect() was called.
    pub opened: Instant,
    /// How long it lasted, once it is over.
    pub duration: Duration,
    /// Bytes from the client to the server, once it is over.
    pub sent: u64,
    /// Bytes from the server to the client, once it is over.
    pub received: u64,
}

/// The maps.
pub(super) struct DirectTable {
    grants: KernelMap<GrantKey, Grant>,
    flows: KernelMap<u64, DirectFlow>,
    events: Mutex<RingBuf<MapData>>,
    settings: KernelMap<u32, Settings>,
    generation: u32,
}

/// Both clocks at one moment: the programs' and this process's.
#[derive(Clone, Copy)]
struct Clock {
    boot: Duration,
    now: Instant,
}

// === impl DirectTable ===

impl fmt::Debug for DirectTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectTable")
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl DirectTable {
    /// Opens the maps, and withdraws what a former process granted.
    pub(super) fn open(maps: &Path, generation: u32) -> Result<Self, CaptureError> {
        let fail = |e: aya::maps::MapError| CaptureError::Map {
            map: map::DIRECT_EVENTS,
            action: "open",
            source: io::Error::other(e),
        };
        let ring = MapData::from_pin(maps.join(map::DIRECT_EVENTS)).map_err(fail)?;
        let table = Self {
            grants: KernelMap::open(maps, map::GRANTS)?,
            flows: KernelMap::open(maps, map::DIRECT)?,
            events: Mutex::new(RingBuf::try_from(Map::RingBuf(ring)).map_err(fail)?),
            settings: KernelMap::open(maps, map::SETTINGS)?,
            generation,
        };
        table.grants.clear(MapLayout::MAX_GRANTS)?;
        Ok(table)
    }

    fn connection(&self, flow: &DirectFlow, clock: Clock) -> DirectConnection {
        let is_ours = flow.generation == self.generation;
        let at = |address: Address, port: NetPort| SocketAddr::new(address.to_ip(), port.to_host());
        let age = clock.boot.saturating_sub(Duration::from_nanos(flow.opened));
        DirectConnection {
            cookie: flow.cookie,
            cgroup: flow.cgroup,
            netns_cookie: flow.netns_cookie,
            slot: is_ours.then_some(flow.slot),
            endpoint_slot: is_ours.then_some(flow.endpoint_slot),
            source: at(flow.source, flow.source_port),
            destination: at(flow.destination, flow.destination_port),
            endpoint: at(flow.endpoint, flow.endpoint_port),
            state: match flow.state {
                DirectFlow::RESERVED => DirectState::Reserved,
                DirectFlow::CONNECTING => DirectState::Connecting,
                DirectFlow::OPEN => DirectState::Open,
                DirectFlow::CLOSED => DirectState::Closed {
                    is_broken: flow.flags & DirectFlow::BROKEN != 0,
                },
                DirectFlow::FAILED => DirectState::Failed,
                _ => DirectState::Lost,
            },
            opened: clock.now.checked_sub(age).unwrap_or(clock.now),
            duration: Duration::from_nanos(flow.closed.saturating_sub(flow.opened)),
            sent: flow.sent,
            received: flow.received,
        }
    }
}

// === impl Capture ===

impl Capture {
    /// The id of an enrolled workload's cgroup.
    pub fn cgroup_id(&self, cgroup: &Path) -> Option<u64> {
        self.enrolled.lock().get(cgroup).copied()
    }

    /// Whether this process's CLOCK_MONOTONIC is not that of the programs, so that leases would end at another time
    /// (time_namespaces(7)).
    pub fn has_other_clock() -> bool {
        let offsets = fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
        let monotonic = offsets.lines().find_map(|line| line.strip_prefix("monotonic"));
        monotonic.is_some_and(|offset| offset.split_whitespace().any(|number| number != "0"))
    }

    /// Grants are in force for so long from now on; without a renewal they end then. Zero: at once.
    pub fn lease_direct(&self, lease: Duration) -> Result<(), CaptureError> {
        let direct = &self.parts.direct;
        let Some(mut settings) = direct.settings.get(&0)? else {
            return Ok(());
        };
        let until = if lease.is_zero() {
            Duration::ZERO
        } else {
            clock()?.boot + lease
        };
        settings.direct_until = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        direct.settings.insert(&0, &settings)
    }

    /// From now on, connections of the workload in `slot` to this destination go straight to one of these endpoints:
    /// [`MAX_DIRECT_ENDPOINTS`] at most, each with a weight. Replaces what was granted before.
    pub fn grant_direct(
        &self,
        key: &DirectKey,
        slot: u32,
        endpoints: &[DirectEndpoint],
    ) -> Result<(), CaptureError> {
        let direct = &self.parts.direct;
        let weights: Vec<u32> = endpoints.iter().map(|endpoint| endpoint.weight).collect();
        let mut grant = Grant {
            destination: Address::from(key.destination.ip()),
            port: NetPort::from_host(key.destination.port()),
            pad: 0,
            slot,
            generation: direct.generation,
            picks: places(&weights),
            endpoints: [GrantEndpoint::default(); MAX_ENDPOINTS],
        };
        for (entry, endpoint) in grant.endpoints.iter_mut().zip(endpoints) {
            *entry = GrantEndpoint {
                address: Address::from(endpoint.address.ip()),
                port: NetPort::from_host(endpoint.address.port()),
                pad: 0,
                slot: endpoint.slot,
            };
        }
        direct.grants.insert(&grant_key(key), &grant)
    }

    /// Connections to this destination go to the proxy again. Those that there are stay.
    pub fn withdraw_direct(&self, key: &DirectKey) -> Result<(), CaptureError> {
        self.parts.direct.grants.remove(&grant_key(key))
    }

    /// Takes what was told since the last call: connections that came about, and those that are over.
    pub fn direct_events(&self, mut take: impl FnMut(DirectConnection)) -> Result<(), CaptureError> {
        let clock = clock()?;
        let mut events = self.parts.direct.events.lock();
        // So many fit in: who writes all the time holds nobody up for ever.
        for _ in 0..MapLayout::EVENT_BYTES as usize / size_of::<DirectFlow>() {
            let Some(event) = events.next() else { break };
            if let Some(flow) = sys::value::<DirectFlow>(&event) {
                take(self.parts.direct.connection(&flow, clock));
            }
        }
        Ok(())
    }

    /// All connections in the kernel's table.
    pub fn direct_connections(&self) -> Result<Vec<DirectConnection>, CaptureError> {
        let direct = &self.parts.direct;
        let clock = clock()?;
        let flows = direct.flows.values(MapLayout::MAX_DIRECT)?;
        Ok(flows.iter().map(|flow| direct.connection(flow, clock)).collect())
    }

    /// Removes a connection from the kernel's table.
    pub fn forget_direct(&self, cookie: u64) -> Result<(), CaptureError> {
        self.parts.direct.flows.remove(&cookie)
    }
}

fn grant_key(key: &DirectKey) -> GrantKey {
    let (destination, port) = (key.destination.ip(), key.destination.port());
    GrantKey::new(key.cgroup, Address::from(destination), NetPort::from_host(port))
}

fn clock() -> Result<Clock, CaptureError> {
    let boot = sys::monotonic().map_err(|source| CaptureError::Map {
        map: map::SETTINGS,
        action: "tell the time for",
        source,
    })?;
    Ok(Clock {
        boot,
        now: Instant::now(),
    })
}

/// Shares the places out by weight: each gets the whole part of its share, those with the largest remainders one more,
/// and who has a weight has one place at least.
fn places(weights: &[u32]) -> [u8; PICKS] {
    let total: u64 = weights
        .iter()
        .map(|weight| u64::from(*weight))
        .sum::<u64>()
        .max(1);
    let mut shares: Vec<(usize, usize, u64)> = Vec::with_capacity(weights.len());
    for (index, weight) in weights.iter().enumerate().take(MAX_ENDPOINTS) {
        let share = u64::from(*weight) * PICKS as u64;
        let whole = usize::try_from(share / total).unwrap_or(PICKS);
        shares.push((index, whole.max(usize::from(*weight > 0)), share % total));
    }
    // The smallest remainders last; of what the minimum took too much, the largest shares give.
    shares.sort_by_key(|share| std::cmp::Reverse(share.2));
    let mut picks = [0; PICKS];
    let mut given: usize = shares.iter().map(|share| share.1).sum();
    for share in &mut shares {
        if given >= PICKS {
            break;
        }
        share.1 += 1;
        given += 1;
    }
    while given > PICKS
        && let Some(largest) = shares.iter_mut().max_by_key(|share| share.1)
    {
        largest.1 -= 1;
        given -= 1;
    }
    let all = shares
        .iter()
        .flat_map(|(index, count, _)| std::iter::repeat_n(*index, *count));
    for (place, index) in picks.iter_mut().zip(all) {
        *place = u8::try_from(index).unwrap_or_default();
    }
    picks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(weights: &[u32]) -> Vec<usize> {
        let picks = places(weights);
        (0..weights.len())
            .map(|index| picks.iter().filter(|pick| usize::from(**pick) == index).count())
            .collect()
    }

    #[test]
    fn places_follow_the_weights() {
        assert_eq!(counts(&[1]), [240]);
        assert_eq!(counts(&[7, 7, 7]), [80, 80, 80]);
        assert_eq!(counts(&[3, 1]), [180, 60]);
        assert_eq!(counts(&[1; 16]), [15; 16]);
        let seven = counts(&[1; 7]);
        assert!(seven.iter().all(|count| (34..=35).contains(count)), "{seven:?}");
        assert_eq!(seven.iter().sum::<usize>(), PICKS);
    }

    #[test]
    fn who_has_a_weight_has_a_place() {
        let counts = counts(&[1, 1_000_000, 1, u32::MAX]);
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
        assert_eq!(counts.iter().sum::<usize>(), PICKS);
    }
}

//! Capture: the kernel programs bring the connections of enrolled workloads to the outbound listeners, and this module
//! tells where each wanted to go. Loads the programs, keeps their maps and links, and nothing else.
//!
//! Invariants: only enrolled cgroups run our programs; what is pinned goes on refusing when this process dies, so
//! nothing leaves in clear; one process at a time owns a pin directory. Called by the node's wiring (start, enrolment)
//! and by its listeners (one lookup at each accept). Refuses: opening listeners, resolving destinations, policy.

mod bpffs;
mod cgroup;
mod direct;
mod error;
mod flow;
mod kernel;
mod links;
mod log;
mod map;
mod object;
pub mod probe;
mod sys;

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use aya::maps::{Map, MapData, PerCpuArray};
use ipnet::IpNet;
use mesh_abi::{Address, CidrKey, Counter, MAX_WORKLOADS, MapLayout, NetPort, WorkloadEntry, map as name};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

pub use cgroup::Hierarchy;
pub use direct::{
    DirectConnection, DirectEndpoint, DirectKey, DirectState, MAX_DIRECT_ENDPOINTS, MAX_DIRECT_GRANTS,
};
pub use error::CaptureError;
pub use flow::Flow;
pub use kernel::Kernel;
pub use object::object;

use bpffs::Pins;
use cgroup::ProxyCgroup;
use direct::DirectTable;
use flow::FlowTable;
use log::LogReader;
use map::KernelMap;
use object::Programs;

/// What becomes of capture at a normal stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnStop {
    /// Everything is detached and removed: workloads connect directly again.
    #[default]
    Release,
    /// Everything stays: workloads' connects fail until the next start.
    Keep,
}

/// How much the kernel programs log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KernelLog {
    /// Nothing; the verifier removes the code.
    #[default]
    Off,
    /// Nothing yet; kept for failures that no counter tells.
    Error,
    /// Refused connects, flows that could not be published.
    Warn,
    /// As `Warn`.
    Info,
    /// Each captured connect.
    Debug,
    /// Each published flow.
    Trace,
}

/// The mesh's ports, which no workload may connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Listener for captured connections.
    pub outbound: u16,
    /// Listener for inbound plaintext.
    pub inbound: u16,
    /// Listener for HBONE.
    pub hbone: u16,
}

/// How capture is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Name of the node; names the proxy's cgroup when one must be made.
    pub node: String,
    /// Folder on a bpffs, this node's alone.
    pub pin_directory: PathBuf,
    /// Destination ports that are not captured.
    pub exclude_ports: Vec<u16>,
    /// Destination networks that are not captured.
    pub exclude_cidrs: Vec<IpNet>,
    /// How much the kernel programs log.
    pub kernel_log: KernelLog,
    /// The proxy's cgroup: an absolute directory, or a path below the cgroup2 mount. Default: the process's own.
    pub proxy_cgroup: Option<PathBuf>,
    /// What becomes of capture at a normal stop.
    pub on_stop: OnStop,
    /// The mesh's ports.
    pub ports: Ports,
}

/// One workload to capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// Number by which [`Flow`] names it.
    pub slot: u32,
    /// Directory of its cgroup; children belong to it.
    pub cgroup: PathBuf,
    /// Cookie of its network namespace, from [`netns_cookie`].
    pub netns_cookie: u64,
    /// Address of the outbound listener for IPv4: its own address, or 127.0.0.1 on the host's network.
    pub v4: Ipv4Addr,
    /// Address of the outbound listener for IPv6: its own address, or ::1 on the host's network.
    pub v6: Ipv6Addr,
}

/// Running capture. Dropped without [`Capture::stop`], it leaves the pins, as a killed process does.
#[derive(Debug)]
pub struct Capture {
    parts: Parts,
    /// Directories of enrolled cgroups with their ids, which cannot be read any more when a directory is gone.
    enrolled: Mutex<BTreeMap<PathBuf, u64>>,
    on_stop: OnStop,
    /// Last, so that the lock goes last.
    pins: Pins,
}

/// What lives in the kernel and is used all the time.
#[derive(Debug)]
struct Parts {
    flows: FlowTable,
    direct: DirectTable,
    workloads: KernelMap<u64, WorkloadEntry>,
    programs: Programs,
    generation: u32,
    /// Attaches the proxy's program while it is open.
    proxy_link: OwnedFd,
    proxy: ProxyCgroup,
    _log: Option<LogReader>,
}

impl KernelLog {
    /// As `AYA_LOG_LEVEL` wants it.
    fn level(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::Error => 1,
            Self::Warn => 2,
            Self::Info => 3,
            Self::Debug => 4,
            Self::Trace => 5,
        }
    }
}

impl Capture {
    /// Loads the programs, or takes over what a former process pinned, and attaches the proxy's own program. The
    /// process's sockets must be opened after this. Workloads that are pinned stay captured; [`Capture::enrol`] hands
    /// them to the new programs.
    pub fn start(settings: &Settings) -> Result<Self, CaptureError> {
        let missing: Vec<_> = probe::required(&settings.pin_directory)
            .into_iter()
            .filter(|probe| !probe.ok)
            .collect();
        if !missing.is_empty() {
            return Err(CaptureError::Unsupported(missing));
        }
        let fail = |source| CaptureError::Cgroup {
            path: "/proc/self/mountinfo".into(),
            action: "read it",
            source,
        };
        let hierarchy = Hierarchy::find()
            .map_err(fail)?
            .ok_or_else(|| CaptureError::Unsupported(Vec::new()))?;
        let pins = Pins::open(&settings.pin_directory)?;
        match Parts::make(settings, &hierarchy, &pins) {
            Ok(parts) => Ok(Self {
                parts,
                enrolled: Mutex::default(),
                on_stop: settings.on_stop,
                pins,
            }),
            Err(error) => {
                // Pinned links need the maps; without links the maps are of no use to anybody.
                if links::pinned(&pins.links()).is_ok_and(|pinned| pinned.is_empty()) {
                    pins.remove()
                        .unwrap_or_else(|error| tracing::warn!(%error, "pins are left"));
                }
                Err(error)
            }
        }
    }

    /// Captures a workload from now on, or updates what is known of it. Connections that exist already stay as they are.
    pub fn enrol(&self, workload: &Enrolment) -> Result<(), CaptureError> {
        let id = cgroup::id(&workload.cgroup).map_err(|source| CaptureError::Cgroup {
            path: workload.cgroup.clone(),
            action: "find it",
            source,
        })?;
        let mut enrolled = self.enrolled.lock();
        // The directory was removed and made again.
        if let Some(former) = enrolled
            .get(&workload.cgroup)
            .copied()
            .filter(|former| *former != id)
        {
            self.forget(former)?;
            enrolled.remove(&workload.cgroup);
        }
        let entry = WorkloadEntry {
            netns_cookie: workload.netns_cookie,
            v4: Address::from(workload.v4),
            v6: Address::from(workload.v6),
            slot: workload.slot,
            generation: self.parts.generation,
        };
        let links = self.pins.links();
        let is_new = !links::pinned(&links)?.contains(&id);
        self.parts.workloads.insert(&id, &entry)?;
        let outcome = links::attach(&links, &workload.cgroup, id, &self.parts.programs);
        match &outcome {
            Ok(()) => {
                enrolled.insert(workload.cgroup.clone(), id);
            }
            // All or nothing; but what was captured before stays so.
            Err(_) if is_new => self.forget(id)?,
            Err(_) => {}
        }
        outcome
    }

    /// Captures a workload no longer. Also when its cgroup is gone already.
    pub fn release(&self, cgroup: &Path) -> Result<(), CaptureError> {
        let mut enrolled = self.enrolled.lock();
        let known = enrolled.remove(cgroup);
        let there = cgroup::id(cgroup).ok();
        for id in known.into_iter().chain(there.filter(|id| Some(*id) != known)) {
            self.forget(id)?;
        }
        self.forget_orphans()
    }

    /// Releases every workload pinned by a former process but those in these cgroups. To be called once the configured
    /// ones are enrolled.
    pub fn retain(&self, cgroups: &[PathBuf]) -> Result<(), CaptureError> {
        let kept: Vec<u64> = cgroups.iter().filter_map(|path| cgroup::id(path).ok()).collect();
        let mut enrolled = self.enrolled.lock();
        enrolled.retain(|_, id| kept.contains(id));
        for id in links::pinned(&self.pins.links())? {
            if !kept.contains(&id) {
                self.forget(id)?;
            }
        }
        for id in self.parts.workloads.keys(MAX_WORKLOADS)? {
            if !kept.contains(&id) {
                self.parts.workloads.remove(&id)?;
            }
        }
        self.pins.remove_other_versions()
    }

    /// Where an accepted connection wanted to go. `None`: it was not captured, and must be closed. Each answer is given
    /// once. `source` is the client's address as accept gave it.
    pub fn take_flow(&self, netns_cookie: u64, source: SocketAddr) -> Option<Flow> {
        match self.parts.flows.take(netns_cookie, source) {
            Ok(flow) => flow,
            Err(error) => {
                tracing::warn!(%error, %source, "flow not readable, connection will be closed");
                None
            }
        }
    }

    /// Whether the proxy itself opened this connection.
    pub fn is_proxy_flow(&self, netns_cookie: u64, source: SocketAddr, destination: SocketAddr) -> bool {
        self.parts
            .flows
            .is_own(netns_cookie, source, destination)
            .unwrap_or(false)
    }

    /// What the kernel programs counted since the maps were made, summed over the CPUs.
    pub fn counters(&self) -> Result<Vec<(&'static str, u64)>, CaptureError> {
        let fail = |e: aya::maps::MapError| CaptureError::Map {
            map: name::COUNTERS,
            action: "read",
            source: io::Error::other(e),
        };
        let map = MapData::from_pin(self.pins.maps().join(name::COUNTERS)).map_err(fail)?;
        let map = PerCpuArray::<_, u64>::try_from(Map::PerCpuArray(map)).map_err(fail)?;
        Counter::ALL
            .iter()
            .map(|(counter, name)| {
                let values = map.get(&(*counter as u32), 0).map_err(fail)?;
                Ok((*name, values.iter().sum()))
            })
            .collect()
    }

    /// Stops as configured: [`OnStop::Release`] removes every link, pin, map, folder and cgroup that capture made.
    pub fn stop(self) -> Result<(), CaptureError> {
        if self.on_stop == OnStop::Keep {
            return Ok(());
        }
        for id in links::pinned(&self.pins.links())? {
            self.forget(id)?;
        }
        let Self { pins, parts, .. } = self;
        let Parts {
            proxy,
            proxy_link: link,
            ..
        } = parts;
        // The cgroup cannot go before its program: close the link first.
        sys::link_detach(link.as_fd()).map_err(|source| CaptureError::Cgroup {
            path: proxy.path.clone(),
            action: "detach from it",
            source,
        })?;
        drop(link);
        pins.remove()?;
        proxy.leave()
    }

    fn forget(&self, id: u64) -> Result<(), CaptureError> {
        links::detach(&self.pins.links(), id)?;
        self.parts.workloads.remove(&id)
    }

    /// Links whose cgroup is gone hold nothing but memory.
    fn forget_orphans(&self) -> Result<(), CaptureError> {
        for id in links::pinned(&self.pins.links())? {
            if links::is_orphan(&self.pins.links(), id) {
                self.forget(id)?;
            }
        }
        Ok(())
    }
}

impl Parts {
    fn make(settings: &Settings, hierarchy: &Hierarchy, pins: &Pins) -> Result<Self, CaptureError> {
        let maps = pins.maps();
        let (mut ebpf, programs) = object::load(&maps, settings.kernel_log)?;
        let log = match settings.kernel_log {
            KernelLog::Off => None,
            _ => Some(LogReader::start(&mut ebpf)?),
        };
        write_exclusions(&maps, settings)?;
        let generation = write_settings(&maps, settings.ports)?;
        let flows = FlowTable::open(&maps, generation)?;
        flows.clear()?;
        let direct = DirectTable::open(&maps, generation)?;
        let workloads = KernelMap::open(&maps, name::WORKLOADS)?;
        let proxy = ProxyCgroup::prepare(hierarchy, settings.proxy_cgroup.as_deref(), &settings.node)?;
        let proxy_link = match links::attach_proxy(&proxy.path, &programs) {
            Ok(link) => link,
            Err(error) => {
                proxy.leave()?;
                return Err(error);
            }
        };
        Ok(Self {
            flows,
            direct,
            workloads,
            programs,
            generation,
            proxy_link,
            proxy,
            _log: log,
        })
    }
}

/// The cookie of the network namespace that a socket belongs to (SO_NETNS_COOKIE, Linux 5.14).
pub fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    sys::netns_cookie(socket)
}

/// Writes the ports under a new generation, and gives that back.
fn write_settings(maps: &Path, ports: Ports) -> Result<u32, CaptureError> {
    let map = KernelMap::<u32, mesh_abi::Settings>::open(maps, name::SETTINGS)?;
    let former = map.get(&0)?.map_or(0, |settings| settings.generation);
    let settings = mesh_abi::Settings {
        generation: former.wrapping_add(1),
        outbound: NetPort::from_host(ports.outbound),
        inbound: NetPort::from_host(ports.inbound),
        hbone: NetPort::from_host(ports.hbone),
        pad: [0; 3],
        direct_until: 0,
    };
    map.insert(&0, &settings)?;
    Ok(settings.generation)
}

/// Writes what is excluded, and removes what no longer is.
fn write_exclusions(maps: &Path, settings: &Settings) -> Result<(), CaptureError> {
    let ports = KernelMap::<NetPort, u8>::open(maps, name::EXCLUDED_PORTS)?;
    let wanted: Vec<NetPort> = settings
        .exclude_ports
        .iter()
        .map(|port| NetPort::from_host(*port))
        .collect();
    for port in &wanted {
        ports.insert(port, &1)?;
    }
    for stale in ports
        .keys(MapLayout::MAX_PORTS)?
        .iter()
        .filter(|port| !wanted.contains(port))
    {
        ports.remove(stale)?;
    }
    let networks = KernelMap::<CidrKey, u8>::open(maps, name::EXCLUDED_NETS)?;
    let network = |net: &IpNet| CidrKey::of_network(net.network(), net.prefix_len());
    let wanted: Vec<CidrKey> = settings.exclude_cidrs.iter().map(network).collect();
    for network in &wanted {
        networks.insert(network, &1)?;
    }
    for stale in networks
        .keys(MapLayout::MAX_NETS)?
        .iter()
        .filter(|network| !wanted.contains(network))
    {
        networks.remove(stale)?;
    }
    Ok(())
}

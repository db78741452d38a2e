//! Nodes, pods and hosts on one kernel.
//!
//! ```text
//!  pod 10.1.0.2 ──veth── node 10.0.0.1 ──veth── fabric (a bridge) ──veth── node 10.0.0.2 ──veth── pod 10.2.0.2
//!  fd00:1::2             fd00::1                    │                       fd00::2               fd00:2::2
//!                                                 host 10.0.0.200 (no node: the control plane, an outsider)
//! ```
//!
//! Each box is a network namespace. Services' addresses (10.96.0.0/16, fd00:96::/32 by convention) have no route but
//! the pods' default one: a captured connection never uses it. Programs run in cgroups below
//! `<cgroup2>/<prefix>/<node>/`.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::mounts;
use crate::netns::Netns;
use crate::ownership::Ownership;
use crate::place::Place;

/// Pods have addresses from 2 on; 1 is their node's end of the link.
const FIRST_POD: u16 = 2;
/// Hosts' last octet starts here, above every node's.
const FIRST_HOST: u16 = 200;
/// Services' addresses begin at 10.96, by convention of Kubernetes; nodes' indexes stay below.
const MAX_NODES: u16 = 95;

/// All of it. Removed when dropped, or when this process dies.
#[derive(Debug)]
pub struct Topology {
    fabric: Place,
    members: Vec<Member>,
    nodes: u16,
    hosts: u16,
    ownership: Ownership,
}

/// A node: one network namespace and one cgroup subtree.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// IPv4 and IPv6, as seen from the other nodes.
    pub addresses: [IpAddr; 2],
    /// Where its proxy runs.
    pub proxy: Place,
    /// The fabric's interface that its traffic passes.
    pub link: String,
    index: u16,
    cgroup: PathBuf,
}

/// Where a workload runs: a pod with a namespace of its own, a cgroup in its node's, or a host without a node.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Its name.
    pub name: String,
    /// IPv4 and IPv6.
    pub addresses: [IpAddr; 2],
    /// Its namespace and cgroup.
    pub place: Place,
    /// Whether the namespace is its node's.
    pub host_network: bool,
    /// The cgroup's path below the mount point, as manifests write it.
    pub cgroup: String,
}

/// A namespace on the fabric.
#[derive(Debug)]
struct Member {
    netns: Netns,
    /// The node's index, for one that forwards to pods.
    node: Option<u16>,
}

// === impl Topology ===

impl Topology {
    /// An empty topology: the fabric alone. Raises this process's limit of open files as far as it may go.
    pub fn new() -> Result<Self> {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raise the limit of open files")?;
        let ownership = Ownership::claim()?;
        let netns = Netns::create(&ownership.name("fabric"))?;
        // Snooping would hold back neighbour discovery until the bridge has seen a querier.
        netns.configure("link add br0 type bridge forward_delay 0 mcast_snooping 0\nlink set br0 up\n")?;
        let logs = ownership.folder().join("logs");
        let fabric = Place::new("fabric", &netns, &ownership.cgroup().join("fabric"), &logs)?;
        Ok(Self {
            fabric,
            members: Vec::new(),
            nodes: 0,
            hosts: 0,
            ownership,
        })
    }

    /// The prefix of every name, and the name of the root cgroup.
    pub fn prefix(&self) -> &str {
        self.ownership.prefix()
    }

    /// The temporary folder.
    pub fn folder(&self) -> &Path {
        self.ownership.folder()
    }

    /// Where the link between the nodes can be watched.
    pub fn fabric(&self) -> &Place {
        &self.fabric
    }

    /// A folder in the BPF file system for a node's pins; not made yet.
    pub fn pins(&self, node: &str) -> PathBuf {
        self.ownership.pins(node)
    }

    /// The root cgroup of the topology.
    pub fn cgroup(&self) -> &Path {
        self.ownership.cgroup()
    }

    /// Adds a node.
    pub fn add_node(&mut self, name: &str) -> Result<Node> {
        self.nodes += 1;
        let index = self.nodes;
        if index > MAX_NODES {
            bail!("a topology has at most {MAX_NODES} nodes");
        }
        let (netns, link, addresses) = self.add_member(name, index, Some(index))?;
        netns.set_parameter("ipv4/ip_forward", "1")?;
        netns.set_parameter("ipv6/conf/all/forwarding", "1")?;
        let cgroup = self.ownership.cgroup().join(name);
        let proxy = Place::new(name, &netns, &cgroup.join("proxy"), &self.logs())?;
        Ok(Node {
            name: name.to_owned(),
            addresses,
            proxy,
            link,
            index,
            cgroup,
        })
    }

    /// Adds a workload with a network namespace of its own.
    pub fn add_pod(&mut self, node: &Node, name: &str) -> Result<Workload> {
        let number = FIRST_POD + pods_of(node)?;
        let netns = self.create_netns(name)?;
        let (n, host) = (node.index, node.addresses);
        let addresses = pod_addresses(n, number);
        let ([v4, v6], [gateway4, gateway6]) = (addresses, pod_addresses(n, 1));
        let interface = format!("p{number}");
        node.proxy.netns().configure(&format!(
            "link add {interface} type veth peer name eth0 netns {}\n\
             addr add {gateway4}/32 dev {interface}\n\
             addr add {gateway6}/128 dev {interface} nodad\n\
             link set {interface} up\n",
            netns.name()
        ))?;
        netns.configure(&format!(
            "addr add {v4}/32 dev eth0\n\
             addr add {v6}/128 dev eth0 nodad\n\
             link set eth0 up\n\
             route add {gateway4} dev eth0 scope link\n\
             route add default via {gateway4} dev eth0\n\
             route add {gateway6} dev eth0\n\
             route add default via {gateway6} dev eth0\n"
        ))?;
        node.proxy.netns().configure(&format!(
            "route add {v4}/32 dev {interface} src {}\n\
             route add {v6}/128 dev {interface} src {}\n",
            host[0], host[1]
        ))?;
        self.workload(name, addresses, &netns, &node.cgroup.join(name), false)
    }

    /// Adds a workload in its node's network namespace.
    pub fn add_host_workload(&self, node: &Node, name: &str) -> Result<Workload> {
        self.workload(
            name,
            node.addresses,
            node.proxy.netns(),
            &node.cgroup.join(name),
            true,
        )
    }

    /// Adds a machine on the fabric that is no node.
    pub fn add_host(&mut self, name: &str) -> Result<Workload> {
        let octet = FIRST_HOST + self.hosts;
        self.hosts += 1;
        let (netns, _, addresses) = self.add_member(name, octet, None)?;
        self.workload(
            name,
            addresses,
            &netns,
            &self.ownership.cgroup().join(name),
            false,
        )
    }

    fn workload(
        &self,
        name: &str,
        addresses: [IpAddr; 2],
        netns: &Netns,
        cgroup: &Path,
        host_network: bool,
    ) -> Result<Workload> {
        let below = cgroup
            .strip_prefix(mounts::cgroup2()?)?
            .to_string_lossy()
            .into_owned();
        let place = Place::new(name, netns, cgroup, &self.logs())?;
        Ok(Workload {
            name: name.to_owned(),
            addresses,
            place,
            host_network,
            cgroup: below,
        })
    }

    fn logs(&self) -> PathBuf {
        self.ownership.folder().join("logs")
    }

    fn create_netns(&self, name: &str) -> Result<Netns> {
        let netns = Netns::create(&self.ownership.name(name))?;
        // Nobody else has these addresses; without this the link-local ones are unusable for a second or two.
        netns.set_parameter("ipv6/conf/all/accept_dad", "0")?;
        netns.set_parameter("ipv6/conf/default/accept_dad", "0")?;
        Ok(netns)
    }

    /// A namespace on the fabric, with routes to every node's pods.
    fn add_member(
        &mut self,
        name: &str,
        octet: u16,
        node: Option<u16>,
    ) -> Result<(Netns, String, [IpAddr; 2])> {
        let netns = self.create_netns(name)?;
        let [v4, v6] = fabric_addresses(octet);
        let link = format!("m{octet}");
        self.fabric.netns().configure(&format!(
            "link add {link} type veth peer name eth0 netns {}\nlink set {link} master br0 up\n",
            netns.name()
        ))?;
        let mut batch =
            format!("addr add {v4}/24 dev eth0\naddr add {v6}/64 dev eth0 nodad\nlink set eth0 up\n");
        for other in self.members.iter().filter_map(|member| member.node) {
            batch.push_str(&routes_to_pods_of(other));
        }
        netns.configure(&batch)?;
        if let Some(index) = node {
            for member in &self.members {
                member.netns.configure(&routes_to_pods_of(index))?;
            }
        }
        self.members.push(Member {
            netns: netns.clone(),
            node,
        });
        Ok((netns, link, [v4, v6]))
    }
}

// === impl Workload ===

impl Workload {
    /// Its IPv4 address.
    pub fn v4(&self) -> IpAddr {
        self.addresses[0]
    }

    /// Its IPv6 address.
    pub fn v6(&self) -> IpAddr {
        self.addresses[1]
    }

    /// Ends what runs in the cgroup and removes it, as a container runtime does when a pod ends.
    pub fn remove_cgroup(&self) -> Result<()> {
        let folder = self.place.cgroup();
        fs::write(folder.join("cgroup.kill"), "1").with_context(|| format!("kill {}", folder.display()))?;
        crate::until(
            "the cgroup to be removable",
            std::time::Duration::from_secs(10),
            || Ok(fs::remove_dir(folder).is_ok().then_some(())),
        )
    }

    /// Makes the cgroup anew.
    pub fn create_cgroup(&self) -> Result<()> {
        let folder = self.place.cgroup();
        fs::create_dir(folder).with_context(|| format!("make {}", folder.display()))
    }
}

/// How many pods the node has: its interfaces named p….
fn pods_of(node: &Node) -> Result<u16> {
    let names = node
        .proxy
        .netns()
        .enter(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
    let pods = names
        .lines()
        .filter(|line| line.trim_start().starts_with('p'))
        .count();
    Ok(u16::try_from(pods)?)
}

fn fabric_addresses(octet: u16) -> [IpAddr; 2] {
    let low = octet.to_be_bytes()[1];
    [
        Ipv4Addr::new(10, 0, 0, low).into(),
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, octet).into(),
    ]
}

fn pod_addresses(node: u16, pod: u16) -> [IpAddr; 2] {
    let ([_, n], [high, low]) = (node.to_be_bytes(), pod.to_be_bytes());
    [
        Ipv4Addr::new(10, n, high, low).into(),
        Ipv6Addr::new(0xfd00, node, 0, 0, 0, 0, 0, pod).into(),
    ]
}

fn routes_to_pods_of(node: u16) -> String {
    let [v4, v6] = fabric_addresses(node);
    format!("route add 10.{node}.0.0/16 via {v4}\nroute add fd00:{node:x}::/32 via {v6}\n")
}

//! The ports of a node: free, or held by the node itself. And whether there is IPv6 to listen on.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use super::{Finding, read};

/// TCP_LISTEN in /proc/net/tcp (include/net/tcp_states.h).
const LISTENING: &str = "0A";
/// What the node's process is called, in /proc/PID/comm.
const NODE: &str = "mesh-node";

/// Where the node listens by default: check, port, and whether on loopback only.
const PORTS: [(&str, u16, bool); 5] = [
    ("port 15000 (admin)", 15000, true),
    ("port 15001 (capture)", 15001, true),
    ("port 15008 (HBONE)", 15008, false),
    ("port 15020 (metrics)", 15020, false),
    ("port 15021 (readiness)", 15021, false),
];

/// A process that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    name: String,
    pid: u32,
}

pub(super) fn all() -> Vec<Finding> {
    PORTS
        .map(|(check, port, is_loopback)| one(check, address(port, is_loopback)))
        .into()
}

pub(super) fn ipv6() -> Finding {
    const CHECK: &str = "IPv6";
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)) {
        Ok(_) => Finding::ok(CHECK, "available"),
        Err(error) => Finding::warn(
            CHECK,
            format!("not available ({error}): only IPv4 workloads can be served"),
            "boot without ipv6.disable=1; until then write 0.0.0.0 for [::] in node.toml",
        ),
    }
}

fn one(check: &'static str, address: SocketAddr) -> Finding {
    let Err(error) = TcpListener::bind(address) else {
        return Finding::ok(check, "free");
    };
    if error.kind() != ErrorKind::AddrInUse {
        return Finding::fail(
            check,
            format!("cannot listen on {address}: {error}"),
            "look at the machine's network",
        );
    }
    match holder(address.port()) {
        Some(holder) if holder.name == NODE => {
            Finding::ok(check, format!("held by {NODE} (pid {})", holder.pid))
        }
        Some(Holder { name, pid }) => Finding::fail(
            check,
            format!("held by {name} (pid {pid})"),
            format!("stop {name} or move it to another port"),
        ),
        None => Finding::fail(
            check,
            "held by a process that this user cannot see",
            format!("find it as root: ss -ltnp 'sport = :{}'", address.port()),
        ),
    }
}

fn address(port: u16, is_loopback: bool) -> SocketAddr {
    let ip: IpAddr = if is_loopback {
        Ipv4Addr::LOCALHOST.into()
    } else if TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok() {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    };
    (ip, port).into()
}

/// Who listens on the port, on any address of this network namespace.
fn holder(port: u16) -> Option<Holder> {
    let mut inodes = listeners(&read("/proc/net/tcp"), port);
    inodes.extend(listeners(&read("/proc/net/tcp6"), port));
    let links: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let pid = pids.find(|pid| has_descriptor(*pid, &links))?;
    let name = read(&format!("/proc/{pid}/comm")).trim().to_owned();
    Some(Holder { name, pid })
}

/// The inodes of the sockets that listen on the port, from /proc/net/tcp (proc_net_tcp(5)): slot, local address,
/// remote address, state, queues, timer, retransmits, uid, timeout, inode.
fn listeners(table: &str, port: u16) -> Vec<String> {
    let port = format!(":{port:04X}");
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_wanted = fields.get(1)?.ends_with(&port) && *fields.get(3)? == LISTENING;
        is_wanted.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    };
    table.lines().skip(1).filter_map(inode).collect()
}

fn has_descriptor(pid: u32, links: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    let mut targets = descriptors
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok());
    targets.any(|target| links.iter().any(|link| target.as_os_str() == link.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Level;

    #[test]
    fn reads_listeners_of_one_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:3A98 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:3A98 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0
   2: 00000000:3A99 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0
";
        assert_eq!(listeners(table, 15000), ["4711"]);
        assert_eq!(listeners(table, 15001), ["4713"]);
        assert!(listeners("header\nnonsense\n", 15000).is_empty());
    }

    #[test]
    fn names_who_holds_a_port() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let finding = one("port", address);
        assert_eq!(finding.level, Level::Fail);
        assert!(
            finding.found.ends_with(&format!("(pid {})", std::process::id())),
            "{finding:?}"
        );
        drop(listener);
        assert_eq!(one("port", address), Finding::ok("port", "free"));
    }
}

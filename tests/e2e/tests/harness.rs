//! The harness itself: what its topologies carry, and that nothing of them stays.

#![expect(clippy::unwrap_used, reason = "in a test, a failure's place is what matters")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mesh_harness::{Sniffer, Topology, sniffer, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_secs(10);

/// What exists on the machine under a prefix.
fn traces(prefix: &str, folder: &Path) -> Vec<String> {
    let named = |folder: &Path| {
        let entries = fs::read_dir(folder)
            .map(|entries| entries.flatten().collect::<Vec<_>>())
            .unwrap_or_default();
        let paths = entries
            .into_iter()
            .map(|entry| entry.path().display().to_string());
        paths.filter(|path| path.contains(prefix)).collect::<Vec<_>>()
    };
    let mut found = named(Path::new("/run/netns"));
    found.extend(named(&mesh_harness::mounts::cgroup2().unwrap()));
    found.extend(named(&mesh_harness::mounts::bpffs().unwrap()));
    found.extend(named(Path::new("/run/nodemesh-harness")));
    found.extend(named(folder.parent().unwrap()));
    found
}

#[test]
fn pods_of_two_nodes_reach_each_other_over_both_families() {
    let mut topology = Topology::new().unwrap();
    let (a, b) = (
        topology.add_node("node-a").unwrap(),
        topology.add_node("node-b").unwrap(),
    );
    let client = topology.add_pod(&a, "client").unwrap();
    let server = topology.add_pod(&b, "server").unwrap();
    let outsider = topology.add_host("outsider").unwrap();
    let agent = topology.add_host_workload(&a, "agent").unwrap();
    let sniffer = Sniffer::start(&topology, &a.link).unwrap();
    for address in server.addresses {
        let any: IpAddr = if address.is_ipv4() { "0.0.0.0" } else { "::" }.parse().unwrap();
        let listener = server.place.listen(SocketAddr::new(any, 0)).unwrap();
        let at = SocketAddr::new(address, listener.local_addr().unwrap().port());
        for (from, place) in [
            (&client, &client.place),
            (&outsider, &outsider.place),
            (&agent, &agent.place),
        ] {
            let mut near = place.connect(at, SECOND).unwrap().unwrap();
            let (mut far, peer) = listener.accept().unwrap();
            assert!(
                from.addresses.contains(&peer.ip()),
                "{} came as {peer}",
                from.name
            );
            near.write_all(b"through the harness").unwrap();
            drop(near);
            let mut text = String::new();
            far.read_to_string(&mut text).unwrap();
            assert_eq!(text, "through the harness");
        }
    }
    let segments = sniffer.finish().unwrap();
    // Two families, and each of the three clients' traffic passes the link of node A but the outsider's.
    assert_eq!(sniffer::occurrences(&segments, b"through the harness"), 4);
}

#[test]
fn a_refused_connection_is_told_apart_from_one_that_hangs() {
    let mut topology = Topology::new().unwrap();
    let node = topology.add_node("node-a").unwrap();
    let pod = topology.add_pod(&node, "pod").unwrap();
    let other = topology.add_pod(&node, "other").unwrap();
    let refused = pod
        .place
        .connect(SocketAddr::new(other.v4(), 9), SECOND)
        .unwrap()
        .unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::ECONNREFUSED));
    node.proxy.netns().configure("link set p3 down\n").unwrap();
    let hung = pod
        .place
        .connect(SocketAddr::new("10.0.0.77".parse().unwrap(), 9), SECOND / 4)
        .unwrap()
        .unwrap_err();
    assert!(
        [libc::EINPROGRESS, libc::EHOSTUNREACH].contains(&hung.raw_os_error().unwrap()),
        "{hung}"
    );
}

#[test]
fn programs_run_where_they_are_told_and_end_at_their_deadline() {
    let mut topology = Topology::new().unwrap();
    let node = topology.add_node("node-a").unwrap();
    let pod = topology.add_pod(&node, "pod").unwrap();
    let shell = |script: &str, deadline| {
        pod.place
            .program("sh")
            .unwrap()
            .args(["-c", script])
            .run(deadline)
            .unwrap()
    };
    let place = shell("cat /proc/self/cgroup; readlink /proc/self/ns/net; cat", MOMENT);
    assert!(
        place.text().contains(&format!("0::/{}", pod.cgroup)),
        "{}",
        place.text()
    );
    let outside = fs::read_link("/proc/self/ns/net").unwrap();
    assert!(!place.text().contains(outside.to_str().unwrap()));
    let late = shell("echo begun; sleep 60", SECOND / 2);
    assert_eq!((late.code(), late.text().as_str()), (None, "begun"));
    let echoed = pod
        .place
        .program("cat")
        .unwrap()
        .input("words")
        .user("nobody")
        .run(MOMENT)
        .unwrap()
        .success();
    assert_eq!(echoed.unwrap().text(), "words");
}

#[test]
fn dropping_a_topology_leaves_nothing() {
    let mut topology = Topology::new().unwrap();
    let node = topology.add_node("node-a").unwrap();
    let pod = topology.add_pod(&node, "pod").unwrap();
    let sleeper = pod.place.program("sleep").unwrap().arg("300").spawn().unwrap();
    fs::create_dir_all(topology.pins("node-a")).unwrap();
    let (prefix, folder) = (topology.prefix().to_owned(), topology.folder().to_owned());
    assert!(
        traces(&prefix, &folder).len() >= 6,
        "{:?}",
        traces(&prefix, &folder)
    );
    drop(sleeper);
    drop(topology);
    assert_eq!(traces(&prefix, &folder), Vec::<String>::new());
}

/// A process of another program that has made a topology, and the topology's prefix and folder.
fn start_owner() -> (Child, String, PathBuf) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mesh-probe"))
        .arg("topology")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let (prefix, folder) = line.trim().split_once(' ').unwrap();
    (child, prefix.to_owned(), folder.into())
}

#[test]
fn a_killed_owner_leaves_nothing() {
    let (mut child, prefix, folder) = start_owner();
    assert!(traces(&prefix, &folder).len() >= 6);
    // A sweep by somebody else leaves the living alone.
    assert!(!mesh_harness::sweep().unwrap().contains(&prefix));
    assert!(traces(&prefix, &folder).len() >= 6);
    child.kill().unwrap();
    child.wait().unwrap();
    until("nothing to be left of a killed owner", MOMENT, || {
        Ok(traces(&prefix, &folder).is_empty().then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}: {:?}", traces(&prefix, &folder)));
}

#[test]
fn what_a_killed_guard_could_not_remove_is_swept_up() {
    let (mut child, prefix, folder) = start_owner();
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    let guard = children.split_whitespace().find(|pid| {
        fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("nodemesh-guard"))
    });
    kill(Pid::from_raw(guard.unwrap().parse().unwrap()), Signal::SIGKILL).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        traces(&prefix, &folder).len() >= 6,
        "nobody is there to remove it"
    );
    assert!(mesh_harness::sweep().unwrap().contains(&prefix));
    assert_eq!(traces(&prefix, &folder), Vec::<String>::new());
}

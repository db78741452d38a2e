//! What runs where, and how to try it by hand. Every command is complete: to be copied as it is.

use mesh_harness::binaries;

use super::demo::{CALLS, Demo, MANIFESTS};

pub(super) fn print(demo: &Demo) {
    let mesh = &demo.mesh;
    println!(
        "\nwhat runs where (manifests: {MANIFESTS}, in use: {})",
        mesh.manifests.folder().display()
    );
    for node in &mesh.nodes {
        let [v4, v6] = node.node.addresses;
        println!(
            "  {}  {v4}, {v6}  namespace {}",
            node.node.name,
            node.node.proxy.netns().name()
        );
        for (name, _, workload) in demo.workloads.iter().filter(|(_, on, _)| *on == node.node.name) {
            let [v4, v6] = workload.addresses;
            let network = if workload.host_network {
                "the node's network"
            } else {
                workload.place.netns().name()
            };
            println!(
                "    {name:<14} {v4}, {v6}  in {network}, cgroup {}",
                workload.cgroup
            );
        }
    }
    println!("who calls whom, ten times a second");
    for call in &CALLS {
        println!(
            "    {:<14} -> {:<13} at {}",
            call.client, call.service, call.address
        );
    }
    let (meshctl, echo) = (path("meshctl"), path("mesh-echo"));
    println!("\ntry it by hand, as root in another terminal:");
    for node in &mesh.nodes {
        let enter = format!("nsenter --net={}", node.node.proxy.netns().path().display());
        println!("  # {}", node.node.name);
        println!("  {enter} {meshctl} status");
        println!("  {enter} {meshctl} connections");
        if node.node.name == "node-a" {
            // The workload's own namespace is entered by meshctl; the node's makes its admin listener reachable.
            println!(
                "  {enter} {meshctl} run --workload shop/frontend -- {echo} call 10.96.0.3:80 --count 3"
            );
            println!(
                "  {enter} {meshctl} run --workload shop/frontend -- sh   # any program is a workload now"
            );
        } else {
            println!("  {enter} {meshctl} run --workload bank/ledger -- {echo} call 10.96.0.1:80 --count 3");
        }
        println!("  {enter} curl -s http://127.0.0.1:15020/metrics | grep ^mesh_node_connections");
    }
    println!("  # the link between the nodes: ciphertext at port 15008, and the control plane's stream");
    println!(
        "  nsenter --net={} tcpdump -ni br0 -c 20 tcp",
        mesh.topology.fabric().netns().path().display()
    );
    println!("\nlogs: {}\n", mesh.topology.folder().join("logs").display());
}

fn path(name: &str) -> String {
    let path = binaries::folder().join(name);
    path.canonicalize().unwrap_or(path).display().to_string()
}

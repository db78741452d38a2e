//! What runs where, and how to try it by hand. Every command is complete: to be copied as it is.

use mesh_harness::binaries;

use crate::workspace;

use super::demo::{BROWSER, CALLS, Demo, EXAMPLES, GETS, MANIFESTS};

pub(super) fn print(demo: &Demo) {
    who_is_where(demo);
    who_calls_whom();
    println!("\ntry it by hand, as root in another terminal:");
    by_hand(demo);
    let mesh = &demo.world.mesh;
    println!("  # the link between the nodes: ciphertext at port 15008, and the control plane's stream");
    println!(
        "  nsenter --net={} tcpdump -ni br0 -c 20 tcp",
        mesh.topology.fabric().netns().path().display()
    );
    println!("\nlogs: {}\n", mesh.topology.folder().join("logs").display());
}

fn who_is_where(demo: &Demo) {
    let mesh = &demo.world.mesh;
    println!(
        "\nwhat runs where (manifests: {MANIFESTS} and examples/{{{}}}, in use: {})",
        EXAMPLES.join(","),
        mesh.manifests.folder().display()
    );
    for node in &mesh.nodes {
        let [v4, v6] = node.node.addresses;
        println!(
            "  {}  {v4}, {v6}  namespace {}",
            node.node.name,
            node.node.proxy.netns().name()
        );
        let members = demo.world.members.iter();
        for member in members.filter(|member| member.node == node.node.name) {
            let workload = &member.workload;
            let [v4, v6] = workload.addresses;
            let network = if workload.host_network {
                "the node's network"
            } else {
                workload.place.netns().name()
            };
            println!(
                "    {:<14} {v4}, {v6}  in {network}, cgroup {}",
                member.name, workload.cgroup
            );
        }
    }
}

fn who_calls_whom() {
    println!("who calls whom, ten times a second");
    for call in &CALLS {
        println!(
            "    {:<14} -> {:<13} at {}",
            call.client, call.service, call.address
        );
    }
    println!("who asks whom by HTTP");
    for get in &GETS {
        let header = get
            .header
            .map(|header| format!(" with {header}"))
            .unwrap_or_default();
        println!("    {BROWSER:<14} -> {:<13} at {}{header}", get.service, get.url);
    }
}

fn by_hand(demo: &Demo) {
    let mesh = &demo.world.mesh;
    let (meshctl, echo) = (path("meshctl"), path("mesh-echo"));
    for node in &mesh.nodes {
        // The workload's own namespace is entered by meshctl; the node's makes its admin listener reachable.
        let enter = format!("nsenter --net={}", node.node.proxy.netns().path().display());
        println!("  # {}", node.node.name);
        println!("  {enter} {meshctl} status");
        println!("  {enter} {meshctl} connections");
        println!("  {enter} {meshctl} routes --node");
        if node.node.name == "node-a" {
            let run = format!("{enter} {meshctl} run --workload {BROWSER} --");
            println!("  {run} {echo} call 10.96.0.3:80 --count 3");
            for get in &GETS {
                let header = get
                    .header
                    .map(|header| format!(" --header '{header}'"))
                    .unwrap_or_default();
                println!("  {run} {echo} get {} --count 100{header}", get.url);
            }
            println!("  {enter} {meshctl} stat");
            println!("  {run} sh   # any program is a workload now");
        } else {
            println!("  {enter} {meshctl} run --workload bank/ledger -- {echo} call 10.96.0.1:80 --count 3");
        }
        println!("  {enter} curl -s http://127.0.0.1:15020/metrics | grep ^mesh_node_requests");
    }
    println!(
        "  # one more example; each has a README. The weights of canary-route.yaml may be changed there, too"
    );
    println!(
        "  cp {}/rate-limit/policy.yaml {}/",
        workspace::root().join("examples").display(),
        mesh.manifests.folder().display()
    );
}

fn path(name: &str) -> String {
    let path = binaries::folder().join(name);
    path.canonicalize().unwrap_or(path).display().to_string()
}

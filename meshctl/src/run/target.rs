//! Where a program must be put to be a given workload: its cgroup and its network namespace, as the node says.
//!
//! Refuses what would end in a process that the node does not serve: a workload of another node, one that is not
//! in the mesh, one whose network namespace nobody names.

use std::fs;
use std::path::{Path, PathBuf};

use mesh_api::admin::{Status, WorkloadStatus};
use mesh_model::ResourceName;

use crate::admin_client::{AdminClient, AdminError};
use crate::mountinfo;
use crate::run::RunError;

/// How many of the node's workloads an error names.
const NAMED: usize = 8;

/// Why the program cannot be this workload here.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    /// The node has never heard of it.
    #[error("the node knows no workload {name}; apply its manifest, or choose one of its own: {own}")]
    Unknown { name: String, own: String },
    /// It runs elsewhere.
    #[error("{name} is a workload of node {node}, and this is {this}; run meshctl there")]
    Elsewhere {
        name: String,
        node: String,
        this: String,
    },
    /// Outside the mesh.
    #[error("{name} is not in the mesh; label its Namespace or the Workload with nodemesh.io/mesh: enabled")]
    NotEnrolled { name: String },
    /// Ours and in the mesh, and yet nothing is done for it.
    #[error("the node does nothing for {name} yet; look at meshctl status and try again")]
    NotServed { name: String },
    /// The node's own namespace would be taken for the workload's.
    #[error(
        "{name} has a network of its own, and its manifest does not name the namespace: set networkNamespace there, or give --network-namespace FILE"
    )]
    NoNamespace { name: String },
    /// Nothing to put the process into.
    #[error(
        "cgroup2 is not mounted here; enter namespaces with nsenter --net rather than ip netns exec, which hides it"
    )]
    NoCgroups,
}

/// Where to put the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The cgroup's directory.
    pub(super) cgroup: PathBuf,
    /// The network namespace to enter; none: the caller's.
    pub(super) network_namespace: Option<PathBuf>,
}

// === impl Target ===

impl Target {
    /// Asks the node. `namespace` stands in for what the manifest names.
    pub(super) fn find(
        client: &AdminClient,
        name: &ResourceName,
        namespace: Option<&Path>,
    ) -> Result<Self, RunError> {
        let status: Status = client.get_json("/status")?;
        let workloads: Vec<WorkloadStatus> = client.get_json("/workloads")?;
        let mounts = mountinfo::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());
        let hierarchy = mounts
            .into_iter()
            .find(|mount| mount.kind == "cgroup2")
            .ok_or(TargetError::NoCgroups)?;
        // A node that answers on loopback shares the caller's network namespace.
        let is_in_nodes_network = client.address().ip().is_loopback();
        Ok(choose(&status.node, &workloads, &name.to_string())?.place(
            &hierarchy.point,
            namespace,
            is_in_nodes_network,
        )?)
    }
}

/// A workload that this node serves.
#[derive(Debug)]
struct Served<'a> {
    workload: &'a WorkloadStatus,
    cgroup: &'a str,
    network_namespace: Option<&'a str>,
}

// === impl Served ===

impl Served<'_> {
    fn place(
        &self,
        hierarchy: &Path,
        given: Option<&Path>,
        is_in_nodes_network: bool,
    ) -> Result<Target, TargetError> {
        let network_namespace = given.or(self.network_namespace.map(Path::new));
        if network_namespace.is_none() && !self.workload.is_host_network && is_in_nodes_network {
            return Err(TargetError::NoNamespace {
                name: self.workload.name.clone(),
            });
        }
        Ok(Target {
            // The node gives the directory; should it give the path below the mount, it is joined to that.
            cgroup: hierarchy.join(self.cgroup),
            network_namespace: network_namespace.map(Path::to_path_buf),
        })
    }
}

fn choose<'a>(node: &str, workloads: &'a [WorkloadStatus], name: &str) -> Result<Served<'a>, TargetError> {
    let Some(workload) = workloads.iter().find(|workload| workload.name == name) else {
        let own = workloads
            .iter()
            .filter(|one| one.node == node)
            .map(|one| one.name.as_str());
        let own: Vec<&str> = own.take(NAMED).collect();
        let own = if own.is_empty() {
            "it has none".to_owned()
        } else {
            own.join(", ")
        };
        return Err(TargetError::Unknown {
            name: name.to_owned(),
            own,
        });
    };
    let name = name.to_owned();
    if workload.node != node {
        return Err(TargetError::Elsewhere {
            name,
            node: workload.node.clone(),
            this: node.to_owned(),
        });
    }
    if !workload.is_enrolled {
        return Err(TargetError::NotEnrolled { name });
    }
    let local = workload.local.as_ref().ok_or(TargetError::NotServed { name })?;
    Ok(Served {
        workload,
        cgroup: &local.cgroup,
        network_namespace: local.network_namespace.as_deref(),
    })
}

/// The workload as the node sees it now.
pub(super) fn find_workload(
    client: &AdminClient,
    name: &ResourceName,
) -> Result<Option<WorkloadStatus>, AdminError> {
    let name = name.to_string();
    let workloads: Vec<WorkloadStatus> = client.get_json("/workloads")?;
    Ok(workloads.into_iter().find(|workload| workload.name == name))
}

/// What keeps the workload from being captured; none when it is captured.
pub(super) fn waits_for(workload: Option<&WorkloadStatus>) -> Option<String> {
    let local = workload.and_then(|workload| workload.local.as_ref());
    match local {
        Some(local) if local.is_captured => None,
        Some(local) => Some(
            local
                .waiting_for
                .clone()
                .unwrap_or_else(|| "it does not say why".to_owned()),
        ),
        None => Some("it is no longer a workload of this node".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_api::admin::LocalWorkload;

    fn workload(name: &str, node: &str) -> WorkloadStatus {
        WorkloadStatus {
            name: name.to_owned(),
            node: node.to_owned(),
            identity: "spiffe://cluster.local/ns/shop/sa/web".to_owned(),
            addresses: vec![],
            is_host_network: false,
            is_enrolled: true,
            local: Some(LocalWorkload {
                cgroup: "shop/web-1".to_owned(),
                network_namespace: Some("/run/netns/web-1".to_owned()),
                is_captured: false,
                waiting_for: Some("its cgroup to appear".to_owned()),
                open_connections: 0,
            }),
        }
    }

    fn refusal(workload: WorkloadStatus) -> TargetError {
        choose("node-a", &[workload], "shop/web-1").expect_err("must be refused")
    }

    #[test]
    fn places_a_program_where_the_node_says() {
        let workloads = [workload("shop/web-1", "node-a")];
        let served = choose("node-a", &workloads, "shop/web-1").expect("one of ours");
        let target = served.place(Path::new("/cg"), None, true).expect("a place");
        assert_eq!(target.cgroup, Path::new("/cg/shop/web-1"));
        assert_eq!(
            target.network_namespace.as_deref(),
            Some(Path::new("/run/netns/web-1"))
        );
        let given = served
            .place(Path::new("/cg"), Some(Path::new("/proc/7/ns/net")), true)
            .expect("a place");
        assert_eq!(
            given.network_namespace.as_deref(),
            Some(Path::new("/proc/7/ns/net"))
        );
    }

    #[test]
    fn refuses_what_the_node_would_not_serve() {
        let mut plain = workload("shop/web-1", "node-a");
        plain.is_enrolled = false;
        assert!(matches!(refusal(plain), TargetError::NotEnrolled { .. }));
        let elsewhere = refusal(workload("shop/web-1", "node-b")).to_string();
        assert!(
            elsewhere.contains("node node-b, and this is node-a"),
            "{elsewhere}"
        );
        let unknown = refusal(workload("shop/web-2", "node-a")).to_string();
        assert!(unknown.ends_with("one of its own: shop/web-2"), "{unknown}");
        let mut idle = workload("shop/web-1", "node-a");
        idle.local = None;
        assert!(matches!(refusal(idle), TargetError::NotServed { .. }));
    }

    #[test]
    fn refuses_to_take_the_nodes_network_for_the_workloads() {
        let mut one = workload("shop/web-1", "node-a");
        one.local.as_mut().expect("local").network_namespace = None;
        let workloads = [one];
        let served = choose("node-a", &workloads, "shop/web-1").expect("one of ours");
        assert!(matches!(
            served.place(Path::new("/cg"), None, true),
            Err(TargetError::NoNamespace { .. })
        ));
        assert!(
            served.place(Path::new("/cg"), None, false).is_ok(),
            "the caller may be in the namespace already"
        );
        let mut host = workloads[0].clone();
        host.is_host_network = true;
        let workloads = [host];
        let served = choose("node-a", &workloads, "shop/web-1").expect("one of ours");
        assert_eq!(
            served
                .place(Path::new("/cg"), None, true)
                .expect("a place")
                .network_namespace,
            None
        );
    }

    #[test]
    fn says_what_capture_waits_for() {
        let mut one = workload("shop/web-1", "node-a");
        assert_eq!(waits_for(Some(&one)).as_deref(), Some("its cgroup to appear"));
        one.local.as_mut().expect("local").is_captured = true;
        assert_eq!(waits_for(Some(&one)), None);
        assert!(waits_for(None).is_some());
    }
}

//! What a snapshot answers, and that building the next one keeps its indexes true.

use proptest::prelude::*;

use super::*;
use crate::fixture;

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn resolves_services_before_workloads_and_by_port() {
    let snapshot = Snapshot::default().apply(
        vec![
            Change::Workload(fixture::workload("shop/web-1", "a", "10.1.0.2")),
            Change::Service(fixture::service("shop/web", "10.96.0.1", &[80])),
            Change::Endpoints(fixture::endpoints(
                "shop/web",
                80,
                &[("10.1.0.2", 8080, "shop/web-1")],
            )),
        ]
        .into(),
    );
    let Destination::Service {
        endpoints: Some(set), ..
    } = snapshot.resolve(at("10.96.0.1:80"))
    else {
        panic!("a Service's port must resolve to it");
    };
    assert_eq!(set.endpoints[0].target(80), Some(at("10.1.0.2:8080")));
    assert!(matches!(
        snapshot.resolve(at("10.96.0.1:81")),
        Destination::ServiceWithoutPort(_)
    ));
    assert!(matches!(
        snapshot.resolve(at("10.1.0.2:9")),
        Destination::Workload(_)
    ));
    assert!(matches!(
        snapshot.resolve(at("[::ffff:10.1.0.2]:9")),
        Destination::Workload(_)
    ));
    assert!(matches!(snapshot.resolve(at("10.1.0.3:9")), Destination::Unknown));
}

#[test]
fn tells_host_network_workloads_apart_by_port() {
    let snapshot = Snapshot::default().apply(
        vec![
            Change::Workload(fixture::host_workload("shop/one", "a", "10.0.0.1", 81)),
            Change::Workload(fixture::host_workload("shop/two", "a", "10.0.0.1", 82)),
        ]
        .into(),
    );
    assert_eq!(
        snapshot.workload_at(at("10.0.0.1:81")).unwrap().name.name(),
        "one"
    );
    assert_eq!(
        snapshot.workload_at(at("10.0.0.1:82")).unwrap().name.name(),
        "two"
    );
    assert!(snapshot.workload_at(at("10.0.0.1:83")).is_none());
}

#[test]
fn a_reused_address_belongs_to_its_latest_claimant() {
    let first = fixture::workload("shop/old", "a", "10.1.0.2");
    let second = fixture::workload("shop/new", "a", "10.1.0.2");
    let both = Snapshot::default().apply(vec![Change::Workload(first), Change::Workload(second)].into());
    assert_eq!(both.workload_at(at("10.1.0.2:1")).unwrap().name.name(), "new");
    let without_old = both.apply(vec![Change::WorkloadRemoved("shop/old".parse().unwrap())].into());
    assert_eq!(
        without_old.workload_at(at("10.1.0.2:1")).unwrap().name.name(),
        "new"
    );
    let without_new = both.apply(vec![Change::WorkloadRemoved("shop/new".parse().unwrap())].into());
    assert_eq!(
        without_new.workload_at(at("10.1.0.2:1")).unwrap().name.name(),
        "old"
    );
}

proptest! {
    /// Whatever the order of changes, the index by address answers what a search of all workloads would.
    #[test]
    fn the_index_agrees_with_a_search(steps in prop::collection::vec((0..6_u8, 0..4_u8, any::<bool>()), 0..40)) {
        let mut snapshot = Snapshot::default();
        for (name, address, is_there) in steps {
            let name = format!("shop/w{name}");
            let change = if is_there {
                Change::Workload(fixture::workload(&name, "a", &format!("10.0.0.{address}")))
            } else {
                Change::WorkloadRemoved(name.parse().unwrap())
            };
            snapshot = snapshot.apply(vec![change].into());
            for address in 0..4 {
                let address = at(&format!("10.0.0.{address}:1"));
                let found = snapshot.workload_at(address);
                let mut claimants = snapshot.workloads().filter(|w| w.addresses.contains(&address.ip()));
                if let Some(workload) = found {
                    prop_assert!(claimants.any(|w| Arc::ptr_eq(w, workload)));
                } else {
                    prop_assert_eq!(claimants.count(), 0);
                }
            }
        }
    }
}

//! That endpoints never name a workload which the node does not know, and no Service is there without endpoints.

mod routes;

use std::collections::{BTreeMap, BTreeSet};

use mesh_api::decode;
use mesh_model::{Change, ResourceName};

use super::*;

/// What a node has, from the responses that it took.
#[derive(Default)]
struct Replica {
    workloads: BTreeSet<ResourceName>,
    endpoints: BTreeMap<ResourceName, BTreeSet<ResourceName>>,
    services: BTreeSet<ResourceName>,
}

impl Replica {
    fn take(&mut self, response: &DeltaDiscoveryResponse) {
        let resource_type = ResourceType::from_type_url(&response.type_url).unwrap();
        for resource in &response.resources {
            match decode(resource_type, resource).unwrap() {
                Change::Workload(workload) => drop(self.workloads.insert(workload.name)),
                Change::Service(service) => drop(self.services.insert(service.name)),
                Change::Endpoints(set) => {
                    let workloads = set.endpoints.into_iter().filter_map(|endpoint| endpoint.workload);
                    self.endpoints.insert(set.service, workloads.collect());
                }
                other => panic!("not subscribed: {other:?}"),
            }
        }
        for name in &response.removed_resources {
            let name: ResourceName = name.parse().unwrap();
            match resource_type {
                ResourceType::Workload => drop(self.workloads.remove(&name)),
                ResourceType::Service => drop(self.services.remove(&name)),
                _ => drop(self.endpoints.remove(&name)),
            }
        }
    }

    fn is_consistent(&self) -> bool {
        self.endpoints
            .values()
            .flatten()
            .all(|workload| self.workloads.contains(workload))
            && self
                .services
                .iter()
                .all(|service| self.endpoints.contains_key(service))
    }
}

/// A Service over these workloads.
fn world(stage: &mut Stage, workloads: &BTreeSet<u8>) {
    let mut changes = Vec::new();
    for n in 0..8_u8 {
        let name = format!("shop/w{n}");
        changes.push(if workloads.contains(&n) {
            Change::Workload(fixture::workload(&name, "b", &format!("10.1.0.{n}")))
        } else {
            Change::WorkloadRemoved(name.parse().unwrap())
        });
    }
    if workloads.is_empty() {
        changes.push(Change::ServiceRemoved("shop/web".parse().unwrap()));
        changes.push(Change::EndpointsRemoved("shop/web".parse().unwrap()));
    } else {
        let named: Vec<(String, String)> = workloads
            .iter()
            .map(|n| (format!("10.1.0.{n}"), format!("shop/w{n}")))
            .collect();
        let endpoints: Vec<(&str, u16, &str)> = named
            .iter()
            .map(|(address, name)| (address.as_str(), 80, name.as_str()))
            .collect();
        changes.push(Change::Endpoints(fixture::endpoints("shop/web", 80, &endpoints)));
        changes.push(Change::Service(fixture::service("shop/web", "10.96.0.1", &[80])));
    }
    stage.apply(changes);
}

fn subscribe_all(stage: &mut Stage) {
    for resource_type in [
        ResourceType::Service,
        ResourceType::Endpoints,
        ResourceType::Workload,
    ] {
        stage.receive(DeltaDiscoveryRequest {
            type_url: resource_type.type_url().to_owned(),
            ..DeltaDiscoveryRequest::default()
        });
    }
}

fn acknowledge(response: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        ..answer(response, None)
    }
}

#[test]
fn a_workload_goes_after_the_endpoints_that_named_it() {
    let mut stage = Stage::new(&[]);
    world(&mut stage, &BTreeSet::from([1, 2]));
    subscribe_all(&mut stage);
    let order = |stage: &mut Stage| {
        let mut order = Vec::new();
        while let Some(response) = stage.next() {
            let kind = ResourceType::from_type_url(&response.type_url).unwrap().label();
            order.push((kind, response.resources.len(), response.removed_resources.len()));
            stage.receive(acknowledge(&response));
        }
        order
    };
    assert_eq!(
        order(&mut stage),
        [("workload", 2, 0), ("endpoints", 1, 0), ("service", 1, 0)]
    );
    world(&mut stage, &BTreeSet::from([2, 3]));
    assert_eq!(
        order(&mut stage),
        [("workload", 1, 0), ("endpoints", 1, 0), ("workload", 0, 1)]
    );
}

proptest! {
    /// Whatever changes, and whenever the node answers, it never has a reference to what it does not have.
    #[test]
    fn references_always_resolve(
        steps in prop::collection::vec((prop::collection::btree_set(0..8_u8, 0..5), 0..4_usize, 0..4_usize), 1..20)
    ) {
        let mut stage = Stage::new(&[]);
        let mut replica = Replica::default();
        subscribe_all(&mut stage);
        let mut waiting = std::collections::VecDeque::new();
        let quiet = std::iter::repeat_n((None, 10, 10), 10);
        for (workloads, sends, answers) in steps.into_iter().map(|(w, s, a)| (Some(w), s, a)).chain(quiet) {
            if let Some(workloads) = &workloads {
                world(&mut stage, workloads);
            }
            for _ in 0..sends {
                if let Some(response) = stage.next() {
                    replica.take(&response);
                    waiting.push_back(response);
                    prop_assert!(replica.is_consistent());
                }
            }
            for _ in 0..answers {
                if let Some(response) = waiting.pop_front() {
                    stage.receive(acknowledge(&response));
                }
            }
        }
        let names = |kind| stage.catalog.names(kind).map(ToString::to_string).collect::<Vec<_>>();
        prop_assert_eq!(names(KIND), replica.workloads.iter().map(ToString::to_string).collect::<Vec<_>>());
        prop_assert_eq!(names(ResourceType::Service), replica.services.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
}

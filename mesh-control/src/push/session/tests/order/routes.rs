//! That routes come after the Services that they send requests to and before their own, and go the other way round.

use mesh_model::{BackendTarget, HttpMatch, fixture};

use super::*;

/// Services by number, each with the Services that its routes send requests to, if it has routes.
type Services = BTreeMap<u8, Option<BTreeSet<u8>>>;

fn name(number: u8) -> String {
    format!("shop/s{number}")
}

/// These Services and no others. What refers to a Service that is not there does not get here: it is resolved before.
fn world(stage: &mut Stage, services: &Services) {
    let mut changes = Vec::new();
    for number in 0..5_u8 {
        let (service, address) = (name(number), format!("10.96.0.{number}"));
        let key: ResourceName = service.parse().unwrap();
        let Some(routes) = services.get(&number) else {
            changes.push(Change::RoutesRemoved(key.clone()));
            changes.push(Change::ServiceRemoved(key.clone()));
            changes.push(Change::EndpointsRemoved(key));
            continue;
        };
        changes.push(Change::Endpoints(fixture::endpoints(&service, 80, &[])));
        changes.push(Change::Service(fixture::service(&service, &address, &[80])));
        changes.push(match routes {
            None => Change::RoutesRemoved(key),
            Some(backends) => {
                let backends = backends
                    .iter()
                    .filter(|backend| services.contains_key(backend))
                    .map(|backend| fixture::backend(&name(*backend), 80, 1));
                let rule = fixture::http_rule("shop/r#0", vec![HttpMatch::any()], backends.collect());
                Change::Routes(fixture::http_routes(&service, 80, vec![rule]))
            }
        });
    }
    stage.apply(changes);
}

/// What a node has of Services and routes.
#[derive(Default)]
struct Node {
    services: BTreeSet<String>,
    /// By parent: backends, and whether the parent has been there ever since the routes came.
    routes: BTreeMap<String, (BTreeSet<String>, bool)>,
}

impl Node {
    /// Takes a response. An error is a broken promise.
    fn take(&mut self, response: &DeltaDiscoveryResponse, catalog: &Catalog) -> Result<(), String> {
        let resource_type = ResourceType::from_type_url(&response.type_url).unwrap();
        let reader = NodeName::new("a").unwrap();
        let is_there = |kind, name: &str| catalog.get(kind, name, &reader).is_some();
        let was_there = self.services.clone();
        for resource in &response.resources {
            match decode(resource_type, resource).unwrap() {
                Change::Service(service) => drop(self.services.insert(service.name.to_string())),
                Change::Routes(routes) => {
                    let backends = routes.targets().filter_map(|target| match target {
                        BackendTarget::Service { service, .. } => Some(service.to_string()),
                        BackendTarget::Invalid { .. } => None,
                    });
                    self.routes
                        .insert(routes.service.to_string(), (backends.collect(), true));
                }
                _ => {}
            }
        }
        for name in &response.removed_resources {
            match resource_type {
                ResourceType::Service => {
                    self.services.remove(name);
                    if let Some((_, is_of_present)) = self.routes.get_mut(name) {
                        *is_of_present = false;
                    }
                }
                ResourceType::Routes => {
                    self.routes.remove(name);
                    if self.services.contains(name) && !is_there(ResourceType::Service, name) {
                        return Err(format!("the routes of {name} went before it"));
                    }
                }
                _ => {}
            }
        }
        for service in self.services.difference(&was_there) {
            let is_needed = catalog.names(ResourceType::Routes).any(|parent| {
                **parent != **service
                    && catalog
                        .backends_of_routes(parent)
                        .iter()
                        .any(|backend| **backend == **service)
            });
            if is_there(ResourceType::Routes, service) && !is_needed && !self.routes.contains_key(service) {
                return Err(format!("{service} came before its routes"));
            }
        }
        for (parent, (backends, is_of_present)) in &self.routes {
            if *is_of_present && self.services.contains(parent) && !backends.is_subset(&self.services) {
                return Err(format!(
                    "routes of {parent} to {backends:?} with {:?}",
                    self.services
                ));
            }
        }
        Ok(())
    }
}

fn subscribe(stage: &mut Stage) {
    for resource_type in [
        ResourceType::Routes,
        ResourceType::Service,
        ResourceType::Endpoints,
    ] {
        stage.receive(DeltaDiscoveryRequest {
            type_url: resource_type.type_url().to_owned(),
            ..DeltaDiscoveryRequest::default()
        });
    }
}

/// All responses until there is none, as kind, names that come, names that go.
fn flow(stage: &mut Stage) -> Vec<(&'static str, Vec<String>, Vec<String>)> {
    let mut all = Vec::new();
    while let Some(response) = stage.next() {
        let kind = ResourceType::from_type_url(&response.type_url).unwrap().label();
        if kind != "endpoints" {
            let names = names(&response).into_iter().map(str::to_owned).collect();
            all.push((kind, names, response.removed_resources.clone()));
        }
        stage.receive(acknowledge(&response));
    }
    all
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "stands beside None, which is no routes at all"
)]
fn to(backends: &[u8]) -> Option<BTreeSet<u8>> {
    Some(backends.iter().copied().collect())
}

fn step(kind: &'static str, come: &[u8], go: &[u8]) -> (&'static str, Vec<String>, Vec<String>) {
    let names = |numbers: &[u8]| numbers.iter().copied().map(name).collect();
    (kind, names(come), names(go))
}

#[test]
fn a_backend_comes_before_the_routes_and_the_parent_after_them() {
    let mut stage = Stage::new(&[]);
    world(&mut stage, &Services::from([(0, to(&[0, 1])), (1, None)]));
    subscribe(&mut stage);
    assert_eq!(
        flow(&mut stage),
        [
            step("service", &[1], &[]),
            step("routes", &[0], &[]),
            step("service", &[0], &[])
        ]
    );
    world(&mut stage, &Services::new());
    assert_eq!(
        flow(&mut stage),
        [step("service", &[], &[0, 1]), step("routes", &[], &[0])]
    );
}

#[test]
fn routes_leave_a_backend_before_it_goes() {
    let mut stage = Stage::new(&[]);
    world(&mut stage, &Services::from([(0, to(&[1])), (1, None)]));
    subscribe(&mut stage);
    flow(&mut stage);
    world(&mut stage, &Services::from([(0, to(&[2])), (2, None)]));
    assert_eq!(
        flow(&mut stage),
        [
            step("service", &[2], &[]),
            step("routes", &[0], &[]),
            step("service", &[], &[1])
        ]
    );
    world(&mut stage, &Services::from([(0, None)]));
    assert_eq!(
        flow(&mut stage),
        [step("routes", &[], &[0]), step("service", &[], &[2])],
        "routes that go from a Service that stays go first"
    );
}

#[test]
fn services_that_route_to_each_other_do_not_wait_for_each_other() {
    let mut stage = Stage::new(&[]);
    world(&mut stage, &Services::from([(0, to(&[1])), (1, to(&[0]))]));
    subscribe(&mut stage);
    assert_eq!(
        flow(&mut stage),
        [step("service", &[0, 1], &[]), step("routes", &[0, 1], &[])]
    );
    world(&mut stage, &Services::new());
    assert_eq!(
        flow(&mut stage),
        [step("service", &[], &[0, 1]), step("routes", &[], &[0, 1])]
    );
}

#[test]
fn a_node_that_does_not_ask_for_routes_gets_its_services_all_the_same() {
    let mut stage = Stage::new(&[]);
    world(&mut stage, &Services::from([(0, to(&[1])), (1, None)]));
    stage.receive(DeltaDiscoveryRequest {
        type_url: ResourceType::Service.type_url().to_owned(),
        ..DeltaDiscoveryRequest::default()
    });
    assert_eq!(flow(&mut stage), [step("service", &[0, 1], &[])]);
    world(&mut stage, &Services::new());
    assert_eq!(flow(&mut stage), [step("service", &[], &[0, 1])]);
}

#[test]
fn only_the_last_response_of_a_type_says_that_it_is_all() {
    let mut stage = Stage::new(&[]);
    world(&mut stage, &Services::from([(0, to(&[0])), (1, None)]));
    subscribe(&mut stage);
    let mut ends = Vec::new();
    while let Some(response) = stage.next() {
        let kind = ResourceType::from_type_url(&response.type_url).unwrap().label();
        ends.push((kind, !response.system_version_info.is_empty()));
        stage.receive(acknowledge(&response));
    }
    assert_eq!(
        ends,
        [
            ("endpoints", true),
            ("service", false),
            ("routes", true),
            ("service", true)
        ]
    );
}

/// `--nocapture` shows the figures.
#[test]
fn ten_thousand_services_with_routes_reach_a_node_within_seconds() {
    const SERVICES: u16 = 10_000;
    let mut changes = Vec::new();
    for number in 0..SERVICES {
        let [high, low] = number.to_be_bytes();
        let service = format!("shop/s{number}");
        let rule = fixture::http_rule(
            &format!("shop/r{number}#0"),
            vec![HttpMatch::any()],
            vec![
                fixture::backend(&service, 80, 90),
                fixture::backend(&format!("shop/s{}", (number + 1) % SERVICES), 80, 10),
            ],
        );
        changes.push(Change::Endpoints(fixture::endpoints(&service, 80, &[])));
        changes.push(Change::Service(fixture::service(
            &service,
            &format!("10.96.{high}.{low}"),
            &[80],
        )));
        changes.push(Change::Routes(fixture::http_routes(&service, 80, vec![rule])));
    }
    let mut stage = Stage::new(&[]);
    let start = std::time::Instant::now();
    stage.apply(changes);
    let encoded = start.elapsed();
    subscribe(&mut stage);
    let (mut responses, mut bytes, mut seen) = (0, 0, 0);
    let mut choosing = std::time::Duration::ZERO;
    loop {
        let start = std::time::Instant::now();
        let Some(response) = stage.next() else { break };
        choosing += start.elapsed();
        responses += 1;
        for resource in &response.resources {
            bytes += resource.resource.as_ref().map_or(0, |body| body.value.len());
            seen += 1;
        }
        stage.receive(acknowledge(&response));
    }
    println!(
        "{SERVICES} Services with endpoints and routes: applied and encoded in {encoded:?}, {responses} responses of {bytes} bytes made in {choosing:?}"
    );
    assert_eq!(seen, 3 * usize::from(SERVICES));
    assert!(encoded + choosing < std::time::Duration::from_secs(30));
}

proptest! {
    /// Whatever changes, and whenever the node answers.
    #[test]
    fn routes_and_services_always_fit(
        steps in prop::collection::vec(
            (
                prop::collection::btree_map(0..5_u8, prop::option::of(prop::collection::btree_set(0..5_u8, 0..3)), 0..5),
                0..4_usize,
                0..4_usize,
            ),
            1..20,
        )
    ) {
        let mut stage = Stage::new(&[]);
        let mut node = Node::default();
        subscribe(&mut stage);
        let mut waiting = std::collections::VecDeque::new();
        let quiet = std::iter::repeat_n((None, 10, 10), 10);
        for (services, sends, answers) in steps.into_iter().map(|(w, s, a)| (Some(w), s, a)).chain(quiet) {
            if let Some(services) = &services {
                world(&mut stage, services);
            }
            for _ in 0..sends {
                if let Some(response) = stage.next() {
                    prop_assert_eq!(node.take(&response, &stage.catalog), Ok(()));
                    waiting.push_back(response);
                }
            }
            for _ in 0..answers {
                if let Some(response) = waiting.pop_front() {
                    stage.receive(acknowledge(&response));
                }
            }
        }
        let names = |kind| stage.catalog.names(kind).map(ToString::to_string).collect::<BTreeSet<_>>();
        prop_assert_eq!(names(ResourceType::Service), node.services);
        prop_assert_eq!(names(ResourceType::Routes), node.routes.into_keys().collect::<BTreeSet<_>>());
    }
}

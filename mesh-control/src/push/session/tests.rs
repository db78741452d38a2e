//! What a stream says next, for every order in which messages and changes may come.

mod order;

use std::collections::BTreeMap;

use mesh_api::wire::envoy::config::core::v3::Node;
use mesh_api::wire::google::rpc::Status;
use mesh_model::{Change, Snapshot, fixture};
use proptest::prelude::*;

use super::*;

const KIND: ResourceType = ResourceType::Workload;

/// A node, its session and the catalog, in one.
struct Stage {
    session: Session,
    snapshot: Snapshot,
    catalog: Catalog,
    now: Instant,
}

fn request() -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: KIND.type_url().to_owned(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn subscribe(names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        ..request()
    }
}

fn answer(response: &DeltaDiscoveryResponse, refusal: Option<&str>) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        response_nonce: response.nonce.clone(),
        error_detail: refusal.map(|message| Status {
            message: message.to_owned(),
            ..Status::default()
        }),
        ..request()
    }
}

fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    response
        .resources
        .iter()
        .map(|resource| resource.name.as_str())
        .collect()
}

impl Stage {
    fn new(workloads: &[(&str, &str)]) -> Self {
        let mut stage = Self {
            session: Session::new(NodeName::new("a").unwrap()),
            snapshot: Snapshot::default(),
            catalog: Catalog::default(),
            now: Instant::now(),
        };
        stage.set(workloads);
        stage
    }

    fn set(&mut self, workloads: &[(&str, &str)]) {
        let changes = workloads
            .iter()
            .map(|(name, address)| Change::Workload(fixture::workload(name, "b", address)));
        self.apply(changes.collect());
    }

    fn remove(&mut self, name: &str) {
        self.apply(vec![Change::WorkloadRemoved(name.parse().unwrap())]);
    }

    fn apply(&mut self, changes: Vec<Change>) {
        self.snapshot = self.snapshot.apply(changes.into());
        if let Some(next) = self.catalog.next(&self.snapshot) {
            self.catalog = next;
        }
    }

    fn receive(&mut self, request: DeltaDiscoveryRequest) -> Received {
        self.session.receive(request).unwrap()
    }

    fn next(&mut self) -> Option<DeltaDiscoveryResponse> {
        self.session.next_response(&self.catalog, self.now)
    }
}

#[test]
fn a_wildcard_gets_everything_and_then_only_changes() {
    let mut stage = Stage::new(&[("shop/one", "10.1.0.1"), ("shop/two", "10.1.0.2")]);
    assert_eq!(stage.next(), None, "nobody subscribed");
    assert_eq!(stage.receive(subscribe(&["*"])), Received::Subscribed(KIND));
    let first = stage.next().unwrap();
    assert_eq!(names(&first), ["shop/one", "shop/two"]);
    assert_eq!(stage.receive(answer(&first, None)), Received::Acknowledged(KIND));
    assert_eq!(stage.next(), None);
    stage.set(&[("shop/two", "10.1.0.3")]);
    let second = stage.next().unwrap();
    assert_eq!(
        (names(&second), second.removed_resources.len()),
        (vec!["shop/two"], 0)
    );
    stage.receive(answer(&second, None));
    stage.remove("shop/one");
    let third = stage.next().unwrap();
    assert_eq!(
        (names(&third).len(), third.removed_resources),
        (0, vec!["shop/one".to_owned()])
    );
}

#[test]
fn a_first_request_without_names_is_a_wildcard() {
    let mut stage = Stage::new(&[("shop/one", "10.1.0.1")]);
    stage.receive(request());
    assert_eq!(names(&stage.next().unwrap()), ["shop/one"]);
}

#[test]
fn a_subscriber_hears_even_that_there_is_nothing() {
    let mut stage = Stage::new(&[]);
    stage.receive(subscribe(&["*"]));
    let response = stage.next().unwrap();
    assert_eq!(
        (response.resources.len(), response.removed_resources.len()),
        (0, 0)
    );
    assert_eq!(response.system_version_info, "0");
}

#[test]
fn changes_coalesce_while_a_response_waits() {
    let mut stage = Stage::new(&[("shop/one", "10.1.0.1")]);
    stage.receive(subscribe(&["*"]));
    let first = stage.next().unwrap();
    stage.set(&[("shop/one", "10.1.0.2"), ("shop/two", "10.1.0.9")]);
    stage.set(&[("shop/one", "10.1.0.3")]);
    stage.remove("shop/two");
    assert_eq!(stage.next(), None, "one response waits");
    stage.receive(answer(&first, None));
    let second = stage.next().unwrap();
    assert_eq!(names(&second), ["shop/one"]);
    assert_eq!(
        second.removed_resources,
        Vec::<String>::new(),
        "it came and went unseen"
    );
}

#[test]
fn a_refusal_is_not_answered_until_something_changes() {
    let mut stage = Stage::new(&[("shop/one", "10.1.0.1")]);
    stage.receive(subscribe(&["*"]));
    let first = stage.next().unwrap();
    assert_eq!(
        stage.receive(answer(&first, Some("no"))),
        Received::Refused(KIND, "no".to_owned())
    );
    assert_eq!(stage.next(), None);
    stage.set(&[("shop/one", "10.1.0.2")]);
    assert_eq!(names(&stage.next().unwrap()), ["shop/one"]);
}

#[test]
fn an_old_nonce_says_nothing() {
    let mut stage = Stage::new(&[("shop/one", "10.1.0.1")]);
    stage.receive(subscribe(&["*"]));
    let first = stage.next().unwrap();
    stage.receive(answer(&first, None));
    stage.set(&[("shop/one", "10.1.0.2")]);
    let second = stage.next().unwrap();
    assert_eq!(stage.receive(answer(&first, Some("late"))), Received::Stale);
    stage.set(&[("shop/one", "10.1.0.3")]);
    assert_eq!(stage.next(), None, "the second still waits");
    stage.receive(answer(&second, None));
    assert!(stage.next().is_some());
}

#[test]
fn a_reconnection_is_told_the_difference() {
    let mut stage = Stage::new(&[
        ("shop/same", "10.1.0.1"),
        ("shop/changed", "10.1.0.2"),
        ("shop/new", "10.1.0.3"),
    ]);
    let node = NodeName::new("a").unwrap();
    let version = stage
        .catalog
        .get(KIND, "shop/same", &node)
        .unwrap()
        .version
        .clone();
    let known = [
        ("shop/same", version.as_str()),
        ("shop/changed", "old"),
        ("shop/gone", "any"),
    ];
    let mut first = subscribe(&["*"]);
    first.initial_resource_versions = known
        .iter()
        .map(|(name, version)| ((*name).to_owned(), (*version).to_owned()))
        .collect();
    stage.receive(first);
    let response = stage.next().unwrap();
    assert_eq!(names(&response), ["shop/changed", "shop/new"]);
    assert_eq!(response.removed_resources, ["shop/gone"]);
}

#[test]
fn names_are_served_one_by_one() {
    let mut stage = Stage::new(&[("shop/one", "10.1.0.1"), ("shop/two", "10.1.0.2")]);
    stage.receive(subscribe(&["shop/one", "shop/absent"]));
    let first = stage.next().unwrap();
    assert_eq!(names(&first), ["shop/one"]);
    assert_eq!(
        first.removed_resources,
        ["shop/absent"],
        "told that it is not there"
    );
    stage.receive(answer(&first, None));
    stage.set(&[("shop/two", "10.1.0.3")]);
    assert_eq!(stage.next(), None, "not asked for");
    stage.set(&[("shop/absent", "10.1.0.4")]);
    let second = stage.next().unwrap();
    assert_eq!(names(&second), ["shop/absent"]);
    stage.receive(answer(&second, None));
    stage.receive(subscribe(&["shop/one"]));
    let third = stage.next().unwrap();
    assert_eq!(names(&third), ["shop/one"], "asked for again, sent again");
    stage.receive(answer(&third, None));
    stage.receive(DeltaDiscoveryRequest {
        resource_names_unsubscribe: vec!["shop/one".to_owned()],
        ..request()
    });
    stage.set(&[("shop/one", "10.1.0.9")]);
    assert_eq!(stage.next(), None, "unsubscribed");
}

#[test]
fn a_wildcard_can_be_left_for_names() {
    let mut stage = Stage::new(&[("shop/one", "10.1.0.1"), ("shop/two", "10.1.0.2")]);
    stage.receive(subscribe(&["*", "shop/one"]));
    let first = stage.next().unwrap();
    assert_eq!(names(&first).len(), 2);
    stage.receive(DeltaDiscoveryRequest {
        resource_names_unsubscribe: vec!["*".to_owned()],
        ..answer(&first, None)
    });
    stage.set(&[("shop/one", "10.1.0.3"), ("shop/two", "10.1.0.4")]);
    assert_eq!(names(&stage.next().unwrap()), ["shop/one"]);
}

#[test]
fn a_large_state_goes_in_parts_and_the_last_one_says_so() {
    let all: Vec<(String, String)> = (0..1200)
        .map(|n| (format!("shop/w{n:04}"), format!("10.1.{}.{}", n / 250, n % 250)))
        .collect();
    let pairs: Vec<(&str, &str)> = all
        .iter()
        .map(|(name, address)| (name.as_str(), address.as_str()))
        .collect();
    let mut stage = Stage::new(&pairs);
    stage.receive(subscribe(&["*"]));
    let mut sizes = Vec::new();
    let mut ends = Vec::new();
    while let Some(response) = stage.next() {
        sizes.push(response.resources.len());
        ends.push(!response.system_version_info.is_empty());
        assert_eq!(stage.next(), None);
        stage.receive(answer(&response, None));
    }
    assert_eq!((sizes, ends), (vec![500, 500, 200], vec![false, false, true]));
}

#[test]
fn a_response_stays_below_a_mebibyte() {
    let mut workloads = Vec::new();
    for n in 0..30 {
        let mut workload = fixture::workload(&format!("shop/w{n}"), "b", &format!("10.1.0.{n}"));
        workload.labels.insert("large".to_owned(), "x".repeat(100_000));
        workloads.push(Change::Workload(workload));
    }
    let mut stage = Stage::new(&[]);
    stage.apply(workloads);
    stage.receive(subscribe(&["*"]));
    let mut count = 0;
    while let Some(response) = stage.next() {
        let bytes: usize = response
            .resources
            .iter()
            .filter_map(|r| r.resource.as_ref())
            .map(|r| r.value.len())
            .sum();
        assert!(bytes <= MAX_RESPONSE_BYTES, "{bytes}");
        count += response.resources.len();
        stage.receive(answer(&response, None));
    }
    assert_eq!(count, 30);
}

#[test]
fn types_wait_apart() {
    let mut stage = Stage::new(&[("shop/one", "10.1.0.1")]);
    stage.apply(vec![Change::Service(fixture::service(
        "shop/web",
        "10.96.0.1",
        &[80],
    ))]);
    stage.receive(subscribe(&["*"]));
    stage.receive(DeltaDiscoveryRequest {
        type_url: ResourceType::Service.type_url().to_owned(),
        ..DeltaDiscoveryRequest::default()
    });
    let (first, second) = (stage.next().unwrap(), stage.next().unwrap());
    assert_eq!(
        (first.type_url.as_str(), second.type_url.as_str()),
        (KIND.type_url(), ResourceType::Service.type_url())
    );
    assert_ne!(first.nonce, second.nonce);
    assert_eq!(stage.next(), None);
}

#[test]
fn the_deadline_is_that_of_the_oldest_response() {
    let mut stage = Stage::new(&[("shop/one", "10.1.0.1")]);
    assert_eq!(stage.session.deadline(), None);
    stage.receive(subscribe(&["*"]));
    let response = stage.next().unwrap();
    assert_eq!(stage.session.deadline(), Some(stage.now + ANSWER_DEADLINE));
    stage.receive(answer(&response, None));
    assert_eq!(stage.session.deadline(), None);
}

#[test]
fn refuses_another_nodes_name_and_ignores_unknown_types() {
    let mut stage = Stage::new(&[]);
    let named = |id: &str| DeltaDiscoveryRequest {
        node: Some(Node {
            id: id.to_owned(),
            ..Node::default()
        }),
        ..request()
    };
    assert!(matches!(
        stage.session.receive(named("b")),
        Err(Violation::Misnamed(..))
    ));
    assert!(stage.session.receive(named("a")).is_ok());
    let unknown = DeltaDiscoveryRequest {
        type_url: "type.googleapis.com/x".to_owned(),
        ..DeltaDiscoveryRequest::default()
    };
    assert_eq!(
        stage.receive(unknown),
        Received::UnknownType("type.googleapis.com/x".to_owned())
    );
}

/// What may happen next to a stream.
#[derive(Debug, Clone)]
enum Event {
    Set(u8, u8),
    Remove(u8),
    Send,
    Answer,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..6_u8, 1..4_u8).prop_map(|(name, address)| Event::Set(name, address)),
        (0..6_u8).prop_map(Event::Remove),
        Just(Event::Send),
        Just(Event::Answer),
    ]
}

proptest! {
    /// Whatever the order of changes and answers, a node that takes every response ends with the catalog, and hears
    /// of nothing twice.
    #[test]
    fn a_node_that_applies_responses_ends_with_the_catalog(events in prop::collection::vec(event(), 0..80)) {
        let mut stage = Stage::new(&[("shop/w0", "10.1.0.1")]);
        stage.receive(subscribe(&["*"]));
        let mut node: BTreeMap<String, String> = BTreeMap::new();
        let mut waiting: Option<DeltaDiscoveryResponse> = None;
        let drained = std::iter::repeat_n([Event::Answer, Event::Send], 4).flatten();
        for event in events.into_iter().chain(drained) {
            match event {
                Event::Set(name, address) => stage.set(&[(&format!("shop/w{name}"), &format!("10.1.0.{address}"))]),
                Event::Remove(name) => stage.remove(&format!("shop/w{name}")),
                Event::Send => if let Some(response) = stage.next() {
                    prop_assert!(waiting.is_none(), "two responses wait");
                    for resource in &response.resources {
                        let before = node.insert(resource.name.clone(), resource.version.clone());
                        prop_assert_ne!(before.as_ref(), Some(&resource.version));
                    }
                    for name in &response.removed_resources {
                        prop_assert!(node.remove(name).is_some(), "never had {}", name);
                    }
                    waiting = Some(response);
                },
                Event::Answer => if let Some(response) = waiting.take() {
                    stage.receive(answer(&response, None));
                },
            }
        }
        let reader = NodeName::new("a").unwrap();
        let wanted: BTreeMap<String, String> = stage.catalog.names(KIND).map(|name| {
            (name.to_string(), stage.catalog.get(KIND, name, &reader).unwrap().version.clone())
        }).collect();
        prop_assert_eq!(node, wanted);
    }
}

//! The state of the delta discovery protocol on the client's side. Pure: messages in, messages and changes out.
//!
//! It outlives the streams: what is known at a reconnection is told to the server, which sends the difference only
//! (xDS protocol, "Incremental xDS": `initial_resource_versions`).

use std::collections::{BTreeMap, BTreeSet};

use mesh_api::wire::envoy::config::core::v3::Node;
use mesh_api::wire::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource,
};
use mesh_api::wire::google::rpc::Status;
use mesh_api::{ResourceType, WILDCARD, decode, decode_removal};
use mesh_model::{Change, Diff, NodeName};

use super::usable;

/// gRPC's INVALID_ARGUMENT, with which a response is refused.
const INVALID_ARGUMENT: i32 = 3;
/// Faults that a refusal lists; the rest is counted.
const MAX_FAULTS: usize = 10;

/// What is known: names and versions of every resource, by type.
#[derive(Debug, Default)]
pub struct Session {
    versions: BTreeMap<ResourceType, BTreeMap<String, String>>,
    /// Types of which this stream has brought everything.
    answered: BTreeSet<ResourceType>,
}

/// What a response comes to.
#[derive(Debug)]
pub struct Handled {
    /// The answer: an acknowledgement, or a refusal that says what is wrong.
    pub reply: DeltaDiscoveryRequest,
    /// What changes. Also after a refusal: the good resources of a bad response count.
    pub diff: Diff,
    /// Which kind it was about; `None` for a type that was not asked for.
    pub resource_type: Option<ResourceType>,
    /// Why it was refused.
    pub refusal: Option<String>,
}

// === impl Session ===

impl Session {
    /// The requests that open a stream: a subscription to every type, with what is known already.
    pub fn open(&mut self, node: &NodeName) -> Vec<DeltaDiscoveryRequest> {
        self.answered.clear();
        let node = Node {
            id: node.to_string(),
            user_agent_name: concat!("mesh-node/", env!("CARGO_PKG_VERSION")).to_owned(),
            ..Node::default()
        };
        ResourceType::ALL
            .into_iter()
            .map(|resource_type| DeltaDiscoveryRequest {
                node: Some(node.clone()),
                type_url: resource_type.type_url().to_owned(),
                resource_names_subscribe: vec![WILDCARD.to_owned()],
                initial_resource_versions: self.versions.get(&resource_type).cloned().unwrap_or_default(),
                ..DeltaDiscoveryRequest::default()
            })
            .collect()
    }

    /// Takes a response.
    pub fn handle(&mut self, response: DeltaDiscoveryResponse) -> Handled {
        let mut reply = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce,
            ..DeltaDiscoveryRequest::default()
        };
        let Some(resource_type) = ResourceType::from_type_url(&response.type_url) else {
            let refusal = format!("the type {} was not asked for", response.type_url);
            reply.error_detail = Some(refuse(&refusal));
            return Handled {
                reply,
                diff: Diff::default(),
                resource_type: None,
                refusal: Some(refusal),
            };
        };
        // A large state comes in parts, and only the last one says of which state it is (xDS protocol,
        // `system_version_info`): before it, what is missing may only be on its way.
        if !response.system_version_info.is_empty() {
            self.answered.insert(resource_type);
        }
        let versions = self.versions.entry(resource_type).or_default();
        let mut changes = Vec::new();
        let mut faults = Vec::new();
        for name in response.removed_resources {
            match decode_removal(resource_type, &name) {
                Ok(change) => {
                    versions.remove(&name);
                    changes.extend(change);
                }
                Err(error) => faults.push(format!("{name}: {error}")),
            }
        }
        for resource in response.resources {
            match take(resource_type, &resource) {
                Ok(change) => {
                    versions.insert(resource.name, resource.version);
                    changes.push(change);
                }
                Err(fault) => faults.push(format!("{}: {fault}", resource.name)),
            }
        }
        let refusal = describe(&faults);
        reply.error_detail = refusal.as_deref().map(refuse);
        Handled {
            reply,
            diff: Diff::from(changes),
            resource_type: Some(resource_type),
            refusal,
        }
    }

    /// Ends the stream; gives whether it was complete.
    pub fn end(&mut self) -> bool {
        let was_complete = self.is_complete();
        self.answered.clear();
        was_complete
    }

    /// Whether this stream has brought everything of every type: the state is the control plane's, and not the disk's.
    pub fn is_complete(&self) -> bool {
        ResourceType::ALL
            .iter()
            .all(|resource_type| self.answered.contains(resource_type))
    }

    /// The version of a resource.
    pub fn version(&self, resource_type: ResourceType, name: &str) -> Option<&str> {
        self.versions.get(&resource_type)?.get(name).map(String::as_str)
    }

    /// Takes over a response that was kept on disk; gives the changes that restore it.
    pub fn restore(&mut self, response: DeltaDiscoveryResponse) -> Diff {
        let handled = self.handle(response);
        if let Some(refusal) = handled.refusal {
            tracing::warn!(refusal, "part of the configuration on disk can't be used");
        }
        self.answered.clear();
        handled.diff
    }
}

/// Decodes a resource that this node can work with; gives what is wrong with any other.
fn take(resource_type: ResourceType, resource: &Resource) -> Result<Change, String> {
    let change = decode(resource_type, resource).map_err(|error| error.to_string())?;
    usable::check(&change).map_err(|error| error.to_string())?;
    Ok(change)
}

fn refuse(message: &str) -> Status {
    Status {
        code: INVALID_ARGUMENT,
        message: message.to_owned(),
        details: Vec::new(),
    }
}

fn describe(faults: &[String]) -> Option<String> {
    if faults.is_empty() {
        return None;
    }
    let mut text = faults
        .iter()
        .take(MAX_FAULTS)
        .cloned()
        .collect::<Vec<_>>()
        .join("; ");
    if faults.len() > MAX_FAULTS {
        text = format!("{text}; and {} more", faults.len() - MAX_FAULTS);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use mesh_api::EncodedResource;
    use mesh_model::{HttpMatch, PathMatch, fixture};

    use super::*;

    fn response(
        resource_type: ResourceType,
        resources: &[EncodedResource],
        removed: &[&str],
    ) -> DeltaDiscoveryResponse {
        DeltaDiscoveryResponse {
            type_url: resource_type.type_url().to_owned(),
            resources: resources.iter().map(EncodedResource::to_wire).collect(),
            removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
            nonce: "7".to_owned(),
            ..DeltaDiscoveryResponse::default()
        }
    }

    fn web() -> EncodedResource {
        EncodedResource::workload(&fixture::workload("shop/web", "a", "10.0.0.1"))
    }

    #[test]
    fn acknowledges_and_remembers_versions_across_streams() {
        let node = NodeName::new("a").unwrap();
        let mut session = Session::default();
        assert!(
            session
                .open(&node)
                .iter()
                .all(|r| r.initial_resource_versions.is_empty())
        );
        let handled = session.handle(response(ResourceType::Workload, &[web()], &[]));
        assert_eq!(handled.reply.response_nonce, "7");
        assert!(handled.reply.error_detail.is_none());
        assert_eq!(handled.diff.changes.len(), 1);
        let again = session.open(&node);
        let workloads = again
            .iter()
            .find(|r| r.type_url == ResourceType::Workload.type_url())
            .unwrap();
        assert_eq!(workloads.initial_resource_versions["shop/web"], web().version);
        let gone = session.handle(response(ResourceType::Workload, &[], &["shop/web"]));
        assert_eq!(
            gone.diff.changes,
            [Change::WorkloadRemoved("shop/web".parse().unwrap())]
        );
        assert!(session.version(ResourceType::Workload, "shop/web").is_none());
    }

    #[test]
    fn refuses_what_is_broken_and_takes_the_rest() {
        let mut broken = web().to_wire();
        broken.name = "shop/other".to_owned();
        let mut message = response(ResourceType::Workload, &[web()], &[]);
        message.resources.push(broken);
        let mut session = Session::default();
        let handled = session.handle(message);
        assert_eq!(handled.diff.changes.len(), 1);
        let detail = handled.reply.error_detail.unwrap();
        assert_eq!(detail.code, INVALID_ARGUMENT);
        assert!(detail.message.starts_with("shop/other:"), "{}", detail.message);
        assert!(session.version(ResourceType::Workload, "shop/other").is_none());
    }

    #[test]
    fn routes_that_do_not_compile_leave_those_before_in_force() {
        let routes = |service: &str, path: &str| {
            let matching = HttpMatch {
                path: PathMatch::Regex(path.to_owned()),
                ..HttpMatch::any()
            };
            let rule = fixture::http_rule(
                "shop/items#0",
                vec![matching],
                vec![fixture::backend("shop/v1", 80, 1)],
            );
            EncodedResource::routes(&fixture::http_routes(service, 80, vec![rule]))
        };
        let good = routes("shop/web", "/items/[0-9]+");
        let mut session = Session::default();
        let handled = session.handle(response(ResourceType::Routes, std::slice::from_ref(&good), &[]));
        assert_eq!((handled.refusal, handled.diff.changes.len()), (None, 1));
        let other = routes("shop/other", "/a");
        let handled = session.handle(response(
            ResourceType::Routes,
            &[routes("shop/web", "/items/("), other],
            &[],
        ));
        let detail = handled.reply.error_detail.unwrap().message;
        assert!(
            detail.starts_with("shop/web: ") && detail.contains("/items/("),
            "{detail}"
        );
        assert!(
            matches!(handled.diff.changes.as_slice(), [Change::Routes(routes)] if routes.service.name() == "other"),
            "the good ones of a bad response count: {:?}",
            handled.diff
        );
        assert_eq!(
            session.version(ResourceType::Routes, "shop/web"),
            Some(good.version.as_str())
        );
    }

    #[test]
    fn refuses_a_type_that_was_not_asked_for() {
        let message = DeltaDiscoveryResponse {
            type_url: "x".to_owned(),
            ..DeltaDiscoveryResponse::default()
        };
        let handled = Session::default().handle(message);
        assert!(handled.reply.error_detail.is_some() && handled.diff.is_empty());
    }

    #[test]
    fn is_complete_when_the_last_part_of_every_type_came() {
        let mut session = Session::default();
        for resource_type in ResourceType::ALL {
            let part = response(resource_type, &[], &[]);
            session.handle(part.clone());
            assert!(!session.is_complete());
            session.handle(DeltaDiscoveryResponse {
                system_version_info: "1".to_owned(),
                ..part
            });
        }
        assert!(session.is_complete());
        session.open(&NodeName::new("a").unwrap());
        assert!(!session.is_complete());
    }
}

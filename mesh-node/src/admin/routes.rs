//! The rules that the node goes by, from the snapshot in force.

use mesh_api::admin::{NodeRoutes, NodeRule, RuleBackendStatus};
use mesh_model::{BackendTarget, HttpRule, RouteGroup, RouteRules, RuleName, ServiceRoutes, WeightedBackend};

use super::Admin;

impl Admin {
    /// In the order of the Services' names; of one Service by port, rules for all clients first.
    pub(super) fn routes(&self) -> Vec<NodeRoutes> {
        let snapshot = self.context.store.load();
        let mut all: Vec<NodeRoutes> = snapshot
            .all_routes()
            .flat_map(|routes| routes.groups.iter().map(|group| group_status(routes, group)))
            .collect();
        all.sort_unstable_by(|a, b| {
            (&a.service, a.port, &a.consumer).cmp(&(&b.service, b.port, &b.consumer))
        });
        all
    }
}

fn group_status(routes: &ServiceRoutes, group: &RouteGroup) -> NodeRoutes {
    let (kind, rules) = match &group.rules {
        RouteRules::Http(rules) => ("HTTPRoute", rules.iter().map(http).collect()),
        RouteRules::Grpc(rules) => ("GRPCRoute", rules.iter().map(http).collect()),
        RouteRules::Tls(rules) => {
            let status =
                |rule: &mesh_model::TlsRule| plain(&rule.name, rule.server_names.clone(), &rule.backends);
            ("TLSRoute", rules.iter().map(status).collect())
        }
        RouteRules::Tcp(rules) => {
            let status = |rule: &mesh_model::TcpRule| plain(&rule.name, Vec::new(), &rule.backends);
            ("TCPRoute", rules.iter().map(status).collect())
        }
    };
    NodeRoutes {
        service: routes.service.to_string(),
        port: group.port,
        consumer: group.consumer.clone(),
        kind: kind.to_owned(),
        rules,
    }
}

fn http(rule: &HttpRule) -> NodeRule {
    let matches = rule.matches.iter().map(ToString::to_string).collect();
    NodeRule {
        filters: rule.filters.iter().map(ToString::to_string).collect(),
        policy: rule.policy.words(),
        ..plain(&rule.name, matches, &rule.backends)
    }
}

fn plain(name: &RuleName, matches: Vec<String>, backends: &[WeightedBackend]) -> NodeRule {
    NodeRule {
        name: name.to_string(),
        matches,
        filters: Vec::new(),
        backends: backends.iter().map(backend).collect(),
        policy: Vec::new(),
    }
}

fn backend(backend: &WeightedBackend) -> RuleBackendStatus {
    let error = match &backend.target {
        BackendTarget::Service { .. } => None,
        BackendTarget::Invalid { reason } => Some(reason.clone()),
    };
    RuleBackendStatus {
        target: match error {
            Some(_) => String::new(),
            None => backend.target.to_string(),
        },
        weight: backend.weight,
        error,
    }
}

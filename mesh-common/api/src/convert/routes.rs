//! `nodemesh.v1.Routes`.

use std::collections::HashSet;
use std::sync::Arc;

use mesh_model::{
    HttpRule, RouteGroup, RouteRules, RuleName, ServiceRoutes, TcpRule, TlsRule, WeightedBackend,
};

use super::check::not_empty;
use super::wire::route_group::Rules;
use super::{
    ConvertError, each, filter, matching, policy, port_from_wire, reference, resource_name, value, wire,
};

pub(crate) fn to_wire(routes: &ServiceRoutes) -> wire::Routes {
    wire::Routes {
        namespace: routes.service.namespace().to_owned(),
        name: routes.service.name().to_owned(),
        groups: routes.groups.iter().map(group_to_wire).collect(),
    }
}

pub(crate) fn from_wire(message: wire::Routes) -> Result<ServiceRoutes, ConvertError> {
    let service = resource_name(&message.namespace, &message.name)?;
    let groups = each("groups", message.groups, group_from_wire)?;
    let mut seen = HashSet::new();
    for group in &groups {
        if !seen.insert((group.port, group.consumer.as_deref())) {
            let consumer = group.consumer.as_deref().unwrap_or("everybody");
            return Err(value(
                "groups",
                format!("port {} has more than one group for {consumer}", group.port),
            ));
        }
    }
    Ok(ServiceRoutes { service, groups })
}

fn group_to_wire(group: &RouteGroup) -> wire::RouteGroup {
    let http = |rules: &[HttpRule]| wire::HttpRules {
        rules: rules.iter().map(http_rule_to_wire).collect(),
    };
    let rules = match &group.rules {
        RouteRules::Http(rules) => Rules::Http(http(rules)),
        RouteRules::Grpc(rules) => Rules::Grpc(http(rules)),
        RouteRules::Tls(rules) => Rules::Tls(wire::TlsRules {
            rules: rules.iter().map(tls_rule_to_wire).collect(),
        }),
        RouteRules::Tcp(rules) => Rules::Tcp(wire::TcpRules {
            rules: rules.iter().map(tcp_rule_to_wire).collect(),
        }),
    };
    wire::RouteGroup {
        port: group.port.into(),
        consumer: group.consumer.clone(),
        rules: Some(rules),
    }
}

fn group_from_wire(message: wire::RouteGroup) -> Result<RouteGroup, ConvertError> {
    let rules = message
        .rules
        .ok_or_else(|| value("rules", "their kind is not known"))?;
    Ok(RouteGroup {
        port: port_from_wire("port", message.port)?,
        consumer: message.consumer.map(namespace).transpose()?,
        rules: match rules {
            Rules::Http(http) => RouteRules::Http(each("http.rules", http.rules, http_rule_from_wire)?),
            Rules::Grpc(grpc) => RouteRules::Grpc(each("grpc.rules", grpc.rules, http_rule_from_wire)?),
            Rules::Tls(tls) => RouteRules::Tls(each("tls.rules", tls.rules, tls_rule_from_wire)?),
            Rules::Tcp(tcp) => RouteRules::Tcp(each("tcp.rules", tcp.rules, tcp_rule_from_wire)?),
        },
    })
}

/// Checked by way of a name in it.
fn namespace(name: String) -> Result<String, ConvertError> {
    resource_name(&name, "any").map_err(|error| error.within("consumer"))?;
    Ok(name)
}

fn http_rule_to_wire(rule: &HttpRule) -> wire::HttpRule {
    wire::HttpRule {
        name: Some(name_to_wire(&rule.name)),
        matches: rule.matches.iter().map(matching::to_wire).collect(),
        filters: rule.filters.iter().map(filter::to_wire).collect(),
        backends: rule.backends.iter().map(backend_to_wire).collect(),
        policy: policy::request_to_wire(&rule.policy),
    }
}

fn http_rule_from_wire(message: wire::HttpRule) -> Result<HttpRule, ConvertError> {
    let matches = each("matches", message.matches, matching::from_wire)?;
    if matches.is_empty() {
        return Err(value("matches", "there is none"));
    }
    Ok(HttpRule {
        name: name_from_wire(message.name)?,
        matches,
        filters: each("filters", message.filters, filter::from_wire)?,
        backends: each("backends", message.backends, backend_from_wire)?,
        policy: policy::request_from_wire(message.policy.unwrap_or_default())
            .map_err(|error| error.within("policy"))?,
    })
}

fn tls_rule_to_wire(rule: &TlsRule) -> wire::TlsRule {
    wire::TlsRule {
        name: Some(name_to_wire(&rule.name)),
        server_names: rule.server_names.clone(),
        backends: rule.backends.iter().map(backend_to_wire).collect(),
    }
}

fn tls_rule_from_wire(message: wire::TlsRule) -> Result<TlsRule, ConvertError> {
    Ok(TlsRule {
        name: name_from_wire(message.name)?,
        server_names: each("server_names", message.server_names, |name| {
            not_empty("name", name)
        })?,
        backends: each("backends", message.backends, backend_from_wire)?,
    })
}

fn tcp_rule_to_wire(rule: &TcpRule) -> wire::TcpRule {
    wire::TcpRule {
        name: Some(name_to_wire(&rule.name)),
        backends: rule.backends.iter().map(backend_to_wire).collect(),
    }
}

fn tcp_rule_from_wire(message: wire::TcpRule) -> Result<TcpRule, ConvertError> {
    Ok(TcpRule {
        name: name_from_wire(message.name)?,
        backends: each("backends", message.backends, backend_from_wire)?,
    })
}

fn name_to_wire(name: &RuleName) -> wire::RuleName {
    wire::RuleName {
        route: name.route.to_string(),
        rule: name.rule.clone(),
    }
}

fn name_from_wire(message: Option<wire::RuleName>) -> Result<Arc<RuleName>, ConvertError> {
    let message = message.ok_or_else(|| value("name", "is missing"))?;
    Ok(Arc::new(RuleName {
        route: reference("name.route", &message.route)?,
        rule: not_empty("name.rule", message.rule)?,
    }))
}

fn backend_to_wire(backend: &WeightedBackend) -> wire::WeightedBackend {
    wire::WeightedBackend {
        weight: backend.weight,
        target: Some(filter::target_to_wire(&backend.target)),
        filters: backend.filters.iter().map(filter::to_wire).collect(),
    }
}

fn backend_from_wire(message: wire::WeightedBackend) -> Result<WeightedBackend, ConvertError> {
    Ok(WeightedBackend {
        weight: message.weight,
        target: filter::target_from_wire(message.target)?,
        filters: each("filters", message.filters, filter::from_wire)?,
    })
}

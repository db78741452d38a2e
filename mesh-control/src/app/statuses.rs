//! The world's conditions as the admin API's JSON.

use mesh_api::admin::{
    ConditionStatus, ParentStatus, PolicyStatus, PolicyTargetStatus, RouteReading, RouteStatus,
    RuleBackendStatus, RuleStatus,
};
use mesh_model::{HttpMatch, PathMatch, TextMatch};

use crate::world::{self, CONTROLLER, Condition, Statuses};

/// All of them, not yet dated.
pub(super) fn reading(statuses: &Statuses) -> RouteReading {
    RouteReading {
        loaded_at: String::new(),
        routes: statuses.routes.iter().map(route).collect(),
        policies: statuses.policies.iter().map(policy).collect(),
    }
}

fn route(status: &world::RouteStatus) -> RouteStatus {
    let parent = |parent: &world::ParentStatus| ParentStatus {
        parent: parent.service.clone(),
        port: parent.port,
        section_name: parent.section.clone(),
        ports: parent.ports.clone(),
        consumer: parent.consumer.clone(),
        controller: CONTROLLER.to_owned(),
        conditions: parent
            .conditions
            .iter()
            .map(|condition| self::condition(condition, status.generation))
            .collect(),
    };
    let rule = |rule: &world::RuleStatus| RuleStatus {
        name: rule.name.clone(),
        matches: rule.matches.iter().map(describe).collect(),
        backends: rule
            .backends
            .iter()
            .map(|backend| RuleBackendStatus {
                target: backend.target.clone(),
                weight: backend.weight,
                error: backend.error.clone(),
            })
            .collect(),
    };
    RouteStatus {
        kind: status.kind.label().to_owned(),
        name: status.name.to_string(),
        origin: status.origin.place(),
        hostnames: status.hostnames.clone(),
        parents: status.parents.iter().map(parent).collect(),
        rules: status.rules.iter().map(rule).collect(),
    }
}

fn policy(status: &world::PolicyStatus) -> PolicyStatus {
    let target = |target: &world::TargetStatus| PolicyTargetStatus {
        kind: target.kind.clone(),
        target: format!("{}/{}", status.name.namespace(), target.name),
        section_name: target.section.clone(),
        controller: CONTROLLER.to_owned(),
        conditions: vec![condition(&target.accepted, status.generation)],
    };
    PolicyStatus {
        name: status.name.to_string(),
        origin: status.origin.place(),
        targets: status.targets.iter().map(target).collect(),
    }
}

fn condition(condition: &Condition, generation: Option<i64>) -> ConditionStatus {
    let status = if condition.is_true() { "True" } else { "False" };
    ConditionStatus {
        r#type: condition.kind.label().to_owned(),
        status: status.to_owned(),
        reason: condition.reason.label().to_owned(),
        message: condition.message.clone(),
        observed_generation: generation,
    }
}

/// A match on one line: method, path, headers, query. `*` behind a path: a prefix; `~`: a regular expression.
fn describe(given: &HttpMatch) -> String {
    let mut words: Vec<String> = given.method.iter().cloned().collect();
    words.push(match &given.path {
        PathMatch::Exact(path) => path.clone(),
        PathMatch::Prefix(path) => format!("{path}*"),
        PathMatch::Regex(regex) => format!("~{regex}"),
        PathMatch::Grpc { service, method } => {
            let part = |part: &Option<TextMatch>| part.as_ref().map_or_else(|| "*".to_owned(), text);
            format!("/{}/{}", part(service), part(method))
        }
    });
    let headers = given.headers.iter();
    words.extend(headers.map(|header| format!("{}={}", header.name, text(&header.value))));
    let query = given.query.iter();
    words.extend(query.map(|parameter| format!("?{}={}", parameter.name, text(&parameter.value))));
    words.join(" ")
}

fn text(text: &TextMatch) -> String {
    match text {
        TextMatch::Exact(text) => text.clone(),
        TextMatch::Regex(regex) => format!("~{regex}"),
    }
}

#[cfg(test)]
mod tests {
    use mesh_model::ValueMatch;

    use super::*;

    #[test]
    fn a_match_is_one_line() {
        let value = |name: &str, value: TextMatch| ValueMatch {
            name: name.to_owned(),
            value,
        };
        let given = HttpMatch {
            path: PathMatch::Prefix("/v2".to_owned()),
            method: Some("GET".to_owned()),
            headers: vec![value("x-user", TextMatch::Exact("a".to_owned()))],
            query: vec![value("q", TextMatch::Regex("b+".to_owned()))],
        };
        assert_eq!(describe(&given), "GET /v2* x-user=a ?q=~b+");
        let call = PathMatch::Grpc {
            service: Some(TextMatch::Exact("a.B".to_owned())),
            method: None,
        };
        let any = HttpMatch {
            path: call,
            ..HttpMatch::any()
        };
        assert_eq!(describe(&any), "/a.B/*");
    }
}

//! Whether this node can work with a resource that is well-formed.
//!
//! Regular expressions and filters are compiled where requests meet them, long after their resource was acknowledged.
//! They are tried here, so that what does not compile is refused with its name, and what was in force before stays.

use mesh_http::filter::{Cors, Edits, FilterError, Redirect, Rewrite};
use mesh_http::table::{Matcher, Table, TableError};
use mesh_model::{Change, Fault, Filter, HttpRule, RouteRules, ServiceRoutes};

/// Why a resource can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    /// A match of a route.
    #[error("the routes at port {port}: {source}")]
    Table {
        /// The Service's port.
        port: u16,
        /// What is wrong.
        source: TableError,
    },
    /// A filter of a route.
    #[error("rule {rule}: {source}")]
    Filter {
        /// Which rule.
        rule: String,
        /// What is wrong.
        source: FilterError,
    },
    /// A match of a fault.
    #[error("a fault of {of}: {source}")]
    Fault {
        /// The rule or port that has it.
        of: String,
        /// What is wrong.
        source: TableError,
    },
}

/// Tries to compile what a change brings.
pub(super) fn check(change: &Change) -> Result<(), Unusable> {
    match change {
        Change::Routes(routes) => check_routes(routes),
        Change::Service(service) => service
            .ports
            .iter()
            .try_for_each(|port| check_faults(&port.policy.request.faults, || format!("port {}", port.port))),
        _ => Ok(()),
    }
}

fn check_routes(routes: &ServiceRoutes) -> Result<(), Unusable> {
    for group in &routes.groups {
        let (rules, table) = match &group.rules {
            RouteRules::Http(rules) => (rules, Table::http(rules, |_, _| ())),
            RouteRules::Grpc(rules) => (rules, Table::grpc(rules, |_, _| ())),
            RouteRules::Tls(_) | RouteRules::Tcp(_) => continue,
        };
        table.map_err(|source| Unusable::Table {
            port: group.port,
            source,
        })?;
        rules.iter().try_for_each(check_rule)?;
    }
    Ok(())
}

fn check_rule(rule: &HttpRule) -> Result<(), Unusable> {
    let of_backends = rule.backends.iter().flat_map(|backend| &backend.filters);
    rule.filters
        .iter()
        .chain(of_backends)
        .try_for_each(check_filter)
        .map_err(|source| Unusable::Filter {
            rule: rule.name.to_string(),
            source,
        })?;
    check_faults(&rule.policy.faults, || format!("rule {}", rule.name))
}

fn check_filter(filter: &Filter) -> Result<(), FilterError> {
    match filter {
        Filter::RequestHeaders(edits) | Filter::ResponseHeaders(edits) => Edits::new(edits).map(drop),
        Filter::Redirect(redirect) => Redirect::new(redirect).map(drop),
        Filter::Rewrite(rewrite) => Rewrite::new(rewrite).map(drop),
        Filter::Cors(cors) => Cors::new(cors).map(drop),
        Filter::Mirror(_) => Ok(()),
    }
}

fn check_faults(faults: &[Fault], of: impl Fn() -> String) -> Result<(), Unusable> {
    faults.iter().try_for_each(|fault| {
        Matcher::new(&fault.matches)
            .map(drop)
            .map_err(|source| Unusable::Fault { of: of(), source })
    })
}

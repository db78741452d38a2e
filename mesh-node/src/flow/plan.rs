//! Plans: what becomes of requests and connections to one port of a Service, compiled from the snapshot.
//!
//! A plan never changes. Who holds one asks [`Plans::get`] again when the snapshot has been replaced; as long as the
//! Service and its routes are the same values, the answer is the same plan, so that a change elsewhere costs a lookup.

pub mod habit;
pub mod limiters;
pub mod rule;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use http::request::Parts;
use mesh_http::filter::FilterError;
use mesh_http::table::{Table, TableError};
use mesh_model::{HttpRule, ResourceName, RouteRules, Service, ServicePort, ServiceRoutes, Snapshot};
use parking_lot::Mutex;

use self::habit::Habit;
use self::limiters::{Limiter, Limiters};
use self::rule::{ConnectionRule, Rule};
use crate::resilience::{Backend, Backends};

/// Parts of the table of plans, so that cores seldom meet at one lock.
const SHARDS: usize = 16;
/// Plans in one part from which on those are thrown away that nobody holds.
const MANY: usize = 256;

/// What becomes of requests and connections to one port of a Service.
#[derive(Debug)]
pub struct Plan {
    /// The Service.
    pub service: Arc<Service>,
    /// Its port.
    pub port: ServicePort,
    /// Its endpoints.
    pub backend: Arc<Backend>,
    /// The routes in force.
    pub rules: Rules,
    /// For requests where no route is in force.
    pub fallback: Arc<Rule>,
    limiters: Limiters,
    /// Who speaks first.
    pub habit: Habit,
    routes: Option<Arc<ServiceRoutes>>,
}

/// The routes in force, by kind.
#[derive(Debug)]
pub enum Rules {
    /// There are none: everything goes to the Service.
    None,
    /// Of HTTPRoutes or GRPCRoutes.
    Http(HttpRules),
    /// Of TLSRoutes.
    Tls(Vec<ConnectionRule>),
    /// Of TCPRoutes.
    Tcp(Vec<ConnectionRule>),
    /// They do not compile; everything is refused, with this text.
    Broken(String),
}

/// Rules and the table that finds the one for a request.
#[derive(Debug)]
pub struct HttpRules {
    rules: Vec<Arc<Rule>>,
    table: Table<usize>,
}

/// Why routes do not compile. The control plane checks all of it, so that this is a defect on either side.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A match.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A filter.
    #[error("rule {rule}: {source}")]
    Filter {
        /// Which rule.
        rule: String,
        /// What is wrong.
        source: FilterError,
    },
}

/// All plans that are in use, or were lately.
#[derive(Debug)]
pub struct Plans {
    backends: Arc<Backends>,
    hasher: RandomState,
    shards: [Mutex<HashMap<Key, Arc<Plan>>>; SHARDS],
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    service: ResourceName,
    port: u16,
    /// The clients' namespace, where it has routes of its own.
    consumer: Option<String>,
}

// === impl Plans ===

impl Plans {
    /// No plans yet.
    pub fn new(backends: Arc<Backends>) -> Self {
        Self {
            backends,
            hasher: RandomState::new(),
            shards: Default::default(),
        }
    }

    /// The plan for clients of a namespace at a port of the Service.
    pub fn get(
        &self,
        snapshot: &Snapshot,
        service: &Arc<Service>,
        port: &ServicePort,
        client_namespace: &str,
    ) -> Arc<Plan> {
        let routes = snapshot.routes(&service.name);
        let group = routes.and_then(|routes| routes.group(port.port, client_namespace));
        let key = Key {
            service: service.name.clone(),
            port: port.port,
            consumer: group.and_then(|group| group.consumer.clone()),
        };
        let shard = &self.shards[usize::try_from(self.hasher.hash_one(&key)).unwrap_or_default() % SHARDS];
        let former = shard.lock().get(&key).cloned();
        if let Some(plan) = &former
            && plan.is_of(service, routes)
        {
            return Arc::clone(plan);
        }
        // Outside the lock: a large table takes milliseconds. Two may do it at the same time; the last one stays.
        let rules = group.map(|group| &group.rules);
        let plan = Arc::new(self.compile(service, port, routes, rules, former.as_deref()));
        let mut plans = shard.lock();
        if plans.len() >= MANY {
            plans.retain(|_, plan| Arc::strong_count(plan) > 1);
        }
        plans.insert(key, Arc::clone(&plan));
        plan
    }

    fn compile(
        &self,
        service: &Arc<Service>,
        port: &ServicePort,
        routes: Option<&Arc<ServiceRoutes>>,
        rules: Option<&RouteRules>,
        former: Option<&Plan>,
    ) -> Plan {
        let backend = self.backends.bind(&service.name, port.port);
        let policy = &port.policy.request;
        let former_limits = former.map(|plan| &plan.limiters);
        let mut limiters = Limiters::default();
        let fallback = Rule::to_service(port, &backend, limiters.of(None, policy, policy, former_limits));
        let mut limits =
            |rule: &HttpRule| limiters.of(Some(&rule.name.route), &rule.policy, policy, former_limits);
        let compiled = rules.map_or(Ok(Rules::None), |rules| self.compile_rules(rules, &mut limits));
        let rules = compiled.unwrap_or_else(|error| {
            tracing::error!(service = %service.name, port = port.port, %error, "the routes do not compile; requests are answered 500 until they do");
            Rules::Broken(error.to_string())
        });
        Plan {
            fallback: Arc::new(fallback.unwrap_or_else(|error| {
                tracing::error!(service = %service.name, port = port.port, %error, "the policy does not compile; its faults are left out");
                Rule::bare(&backend)
            })),
            service: Arc::clone(service),
            port: port.clone(),
            backend,
            rules,
            limiters,
            habit: former.map(|plan| plan.habit.clone()).unwrap_or_default(),
            routes: routes.cloned(),
        }
    }

    fn compile_rules(
        &self,
        rules: &RouteRules,
        limits: &mut impl FnMut(&HttpRule) -> Vec<Arc<Limiter>>,
    ) -> Result<Rules, PlanError> {
        let mut compile = |rules: &[HttpRule]| {
            rules
                .iter()
                .map(|rule| Rule::compile(rule, &self.backends, limits(rule)).map(Arc::new))
                .collect::<Result<Vec<_>, PlanError>>()
        };
        Ok(match rules {
            RouteRules::Http(rules) => Rules::Http(HttpRules {
                rules: compile(rules)?,
                table: Table::http(rules, |index, _| index)?,
            }),
            RouteRules::Grpc(rules) => Rules::Http(HttpRules {
                rules: compile(rules)?,
                table: Table::grpc(rules, |index, _| index)?,
            }),
            RouteRules::Tls(rules) => Rules::Tls(
                rules
                    .iter()
                    .map(|rule| {
                        ConnectionRule::new(&rule.name, &rule.server_names, &rule.backends, &self.backends)
                    })
                    .collect(),
            ),
            RouteRules::Tcp(rules) => Rules::Tcp(
                rules
                    .iter()
                    .map(|rule| ConnectionRule::new(&rule.name, &[], &rule.backends, &self.backends))
                    .collect(),
            ),
        })
    }
}

// === impl HttpRules ===

impl HttpRules {
    /// The rule for a request, and the prefix of its path that the rule matched.
    pub fn find(&self, request: &Parts) -> Option<(&Arc<Rule>, Option<&str>)> {
        let matched = self.table.find(request)?;
        Some((self.rules.get(*matched.payload)?, matched.prefix))
    }
}

// === impl Plan ===

impl Plan {
    fn is_of(&self, service: &Arc<Service>, routes: Option<&Arc<ServiceRoutes>>) -> bool {
        Arc::ptr_eq(&self.service, service)
            && match (&self.routes, routes) {
                (None, None) => true,
                (Some(mine), Some(theirs)) => Arc::ptr_eq(mine, theirs),
                _ => false,
            }
    }
}

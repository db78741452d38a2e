//! One rule of a plan: its filters, backends and policy, compiled.

use std::sync::Arc;

use mesh_http::filter::{Cors, Edits, FilterError, Redirect, Rewrite};
use mesh_http::table::Matcher;
use mesh_model::{
    BackendTarget, Fault, FaultKind, Filter, HttpRule, RateLimit, RequestPolicy, RuleName, ServicePort,
    WeightedBackend,
};

use super::{PlanError, Rules};
use crate::resilience::{Backend, Backends, FaultInjector, RateLimiter};

/// A rule for requests.
#[derive(Debug)]
pub struct Rule {
    /// Where it comes from; `None` for what becomes of requests where no route is in force.
    pub name: Option<Arc<RuleName>>,
    /// In the order of application.
    pub steps: Vec<Step>,
    /// Where requests go.
    pub backends: Weighted,
    /// Timeouts and retries.
    pub policy: RequestPolicy,
    /// All of which a request must pass.
    pub limiters: Vec<Arc<Limiter>>,
    /// To inject.
    pub faults: Vec<InjectedFault>,
}

/// A filter, compiled.
#[derive(Debug)]
pub enum Step {
    /// Changes the request's headers.
    Request(Edits),
    /// Changes the answer's headers.
    Response(Edits),
    /// Answers.
    Redirect(Redirect),
    /// Changes host and path.
    Rewrite(Rewrite),
    /// Sends a copy elsewhere.
    Mirror(Mirror),
    /// Answers preflight requests and adds headers to answers.
    Cors(Cors),
}

/// Where copies go.
#[derive(Debug)]
pub struct Mirror {
    /// The backend; `None` when it does not resolve, and copies go nowhere.
    pub backend: Option<Arc<Backend>>,
    numerator: u32,
    denominator: u32,
}

/// Backends with shares.
#[derive(Debug, Default)]
pub struct Weighted {
    total: u64,
    targets: Vec<Target>,
}

/// A backend and its share.
#[derive(Debug)]
pub struct Target {
    weight: u64,
    /// Where to; `Err` when the reference does not resolve, with the reason.
    pub backend: Result<Arc<Backend>, String>,
    /// Filters for requests that go there.
    pub steps: Vec<Step>,
}

/// A rate limit and its count.
#[derive(Debug)]
pub struct Limiter {
    limit: RateLimit,
    /// The count.
    pub limiter: RateLimiter,
}

/// A fault and which requests it is for.
#[derive(Debug)]
pub struct InjectedFault {
    /// Which.
    pub matcher: Option<Matcher>,
    /// How often.
    pub injector: FaultInjector,
    /// What.
    pub kind: FaultKind,
}

/// A rule for connections.
#[derive(Debug)]
pub struct ConnectionRule {
    /// Where it comes from.
    pub name: Arc<RuleName>,
    /// Server names, for TLS; empty: all.
    pub server_names: Vec<String>,
    /// Where connections go.
    pub backends: Weighted,
}

// === impl Rule ===

impl Rule {
    /// Compiles a rule. The counts of limits that stay the same are taken over from the rule of the same name.
    pub(super) fn compile(
        rule: &HttpRule,
        backends: &Backends,
        former: Option<&Rules>,
    ) -> Result<Self, PlanError> {
        let former = match former {
            Some(Rules::Http(rules)) => rules.named(&rule.name).map(|rule| &**rule),
            _ => None,
        };
        let failed = |source| PlanError::Filter {
            rule: rule.name.to_string(),
            source,
        };
        Ok(Self {
            name: Some(Arc::clone(&rule.name)),
            steps: steps(&rule.filters, backends).map_err(failed)?,
            backends: Weighted::new(&rule.backends, backends).map_err(failed)?,
            limiters: limiters(&rule.policy, former),
            faults: faults(&rule.policy)?,
            policy: rule.policy.clone(),
        })
    }

    /// What becomes of requests where no route is in force: they go to the Service, under its policy.
    pub(super) fn to_service(
        port: &ServicePort,
        backend: &Arc<Backend>,
        former: Option<&Rule>,
    ) -> Result<Self, PlanError> {
        let policy = &port.policy.request;
        Ok(Self {
            limiters: limiters(policy, former),
            faults: faults(policy)?,
            policy: policy.clone(),
            ..Self::bare(backend)
        })
    }

    /// To the Service, without any policy.
    pub(super) fn bare(backend: &Arc<Backend>) -> Self {
        Self {
            name: None,
            steps: Vec::new(),
            backends: Weighted {
                total: 1,
                targets: vec![Target {
                    weight: 1,
                    backend: Ok(Arc::clone(backend)),
                    steps: Vec::new(),
                }],
            },
            policy: RequestPolicy::default(),
            limiters: Vec::new(),
            faults: Vec::new(),
        }
    }
}

// === impl Weighted ===

impl Weighted {
    fn new(backends: &[WeightedBackend], registry: &Backends) -> Result<Self, FilterError> {
        let targets = backends
            .iter()
            .map(|backend| {
                Ok(Target {
                    weight: backend.weight.into(),
                    backend: bind(&backend.target, registry),
                    steps: steps(&backend.filters, registry)?,
                })
            })
            .collect::<Result<Vec<_>, FilterError>>()?;
        Ok(Self {
            total: targets.iter().map(|target| target.weight).sum(),
            targets,
        })
    }

    /// One of them, by weight; `None` when there is none that takes anything.
    pub fn draw(&self) -> Option<&Target> {
        if self.total == 0 {
            return None;
        }
        if let [only] = self.targets.as_slice() {
            return Some(only);
        }
        let mut point = fastrand::u64(..self.total);
        self.targets.iter().find(|target| {
            let is_it = point < target.weight;
            point = point.saturating_sub(target.weight);
            is_it
        })
    }
}

// === impl Mirror ===

impl Mirror {
    /// Whether a copy is sent this time.
    pub fn draw(&self) -> bool {
        self.numerator >= self.denominator || fastrand::u32(..self.denominator.max(1)) < self.numerator
    }
}

// === impl ConnectionRule ===

impl ConnectionRule {
    pub(super) fn new(
        name: &Arc<RuleName>,
        server_names: &[String],
        backends: &[WeightedBackend],
        registry: &Backends,
    ) -> Self {
        Self {
            name: Arc::clone(name),
            server_names: server_names.to_vec(),
            // Filters are for requests; connections have none.
            backends: Weighted {
                total: backends.iter().map(|backend| u64::from(backend.weight)).sum(),
                targets: backends
                    .iter()
                    .map(|backend| Target {
                        weight: backend.weight.into(),
                        backend: bind(&backend.target, registry),
                        steps: Vec::new(),
                    })
                    .collect(),
            },
        }
    }
}

fn bind(target: &BackendTarget, registry: &Backends) -> Result<Arc<Backend>, String> {
    match target {
        BackendTarget::Service { service, port } => Ok(registry.bind(service, *port)),
        BackendTarget::Invalid { reason } => Err(reason.clone()),
    }
}

fn steps(filters: &[Filter], registry: &Backends) -> Result<Vec<Step>, FilterError> {
    let compile = |filter: &Filter| {
        Ok(match filter {
            Filter::RequestHeaders(edits) => Step::Request(Edits::new(edits)?),
            Filter::ResponseHeaders(edits) => Step::Response(Edits::new(edits)?),
            Filter::Redirect(redirect) => Step::Redirect(Redirect::new(redirect)?),
            Filter::Rewrite(rewrite) => Step::Rewrite(Rewrite::new(rewrite)?),
            Filter::Cors(cors) => Step::Cors(Cors::new(cors)?),
            Filter::Mirror(mirror) => Step::Mirror(Mirror {
                backend: bind(&mirror.target, registry).ok(),
                numerator: mirror.numerator,
                denominator: mirror.denominator,
            }),
        })
    };
    filters.iter().map(compile).collect()
}

fn limiters(policy: &RequestPolicy, former: Option<&Rule>) -> Vec<Arc<Limiter>> {
    let same = |limit: &RateLimit| {
        former
            .and_then(|rule| rule.limiters.iter().find(|limiter| limiter.limit == *limit))
            .cloned()
    };
    let new = |limit: &RateLimit| {
        Arc::new(Limiter {
            limiter: RateLimiter::new(limit),
            limit: limit.clone(),
        })
    };
    policy
        .rate_limits
        .iter()
        .map(|limit| same(limit).unwrap_or_else(|| new(limit)))
        .collect()
}

fn faults(policy: &RequestPolicy) -> Result<Vec<InjectedFault>, PlanError> {
    let compile = |fault: &Fault| {
        Ok(InjectedFault {
            matcher: if fault.matches.is_empty() {
                None
            } else {
                Some(Matcher::new(&fault.matches)?)
            },
            injector: FaultInjector::new(fault),
            kind: fault.kind,
        })
    };
    policy.faults.iter().map(compile).collect()
}

//! One rule of a plan: its filters, backends and policy, compiled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mesh_http::filter::{Cors, Edits, FilterError, Redirect, Rewrite};
use mesh_http::table::Matcher;
use mesh_model::{
    BackendTarget, Fault, FaultKind, Filter, HttpRule, RequestPolicy, RuleName, ServicePort, WeightedBackend,
};

use super::PlanError;
use super::limiters::Limiter;
use crate::resilience::{Backend, Backends, FaultInjector};

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
    turns: Turns,
}

/// Backends with shares.
#[derive(Debug, Default)]
pub struct Weighted {
    total: u64,
    targets: Vec<Target>,
    turns: Turns,
}

/// Draws that are even over every stretch of them: a Weyl sequence, whose steps of the golden ratio never fall into step
/// with a client's own rhythm. Chance would leave one share of 500 requests in fifty off by five points.
#[derive(Debug)]
struct Turns(AtomicU64);

/// A backend and its share.
#[derive(Debug)]
pub struct Target {
    weight: u64,
    /// Where to; `Err` when the reference does not resolve, with the reason.
    pub backend: Result<Arc<Backend>, String>,
    /// Filters for requests that go there.
    pub steps: Vec<Step>,
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
    /// Compiles a rule with these limits.
    pub(super) fn compile(
        rule: &HttpRule,
        backends: &Backends,
        limits: Vec<Arc<Limiter>>,
    ) -> Result<Self, PlanError> {
        let failed = |source| PlanError::Filter {
            rule: rule.name.to_string(),
            source,
        };
        Ok(Self {
            name: Some(Arc::clone(&rule.name)),
            steps: steps(&rule.filters, backends).map_err(failed)?,
            backends: Weighted::new(&rule.backends, backends).map_err(failed)?,
            limiters: limits,
            faults: faults(&rule.policy)?,
            policy: rule.policy.clone(),
        })
    }

    /// What becomes of requests where no route is in force: they go to the Service, under its policy.
    pub(super) fn to_service(
        port: &ServicePort,
        backend: &Arc<Backend>,
        limits: Vec<Arc<Limiter>>,
    ) -> Result<Self, PlanError> {
        let policy = &port.policy.request;
        Ok(Self {
            limiters: limits,
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
                turns: Turns::default(),
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
            turns: Turns::default(),
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
        let mut point = self.turns.draw(self.total);
        self.targets.iter().find(|target| {
            let is_it = point < target.weight;
            point = point.saturating_sub(target.weight);
            is_it
        })
    }
}

// === impl Turns ===

impl Turns {
    /// The next number below `total`.
    fn draw(&self, total: u64) -> u64 {
        /// 2⁶⁴ by the golden ratio, odd.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let turn = self.0.fetch_add(STEP, Ordering::Relaxed);
        let scaled = (u128::from(turn) * u128::from(total)) >> 64;
        // Less than `total`, as `turn` is less than 2⁶⁴.
        u64::try_from(scaled).unwrap_or_default()
    }
}

impl Default for Turns {
    /// Begins anywhere, so that nodes do not go in step.
    fn default() -> Self {
        Self(AtomicU64::new(fastrand::u64(..)))
    }
}

// === impl Mirror ===

impl Mirror {
    /// Whether a copy is sent this time.
    pub fn draw(&self) -> bool {
        self.turns.draw(self.denominator.into()) < self.numerator.into()
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
                turns: Turns::default(),
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
                turns: Turns::default(),
            }),
        })
    };
    filters.iter().map(compile).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_even_over_every_stretch_and_for_every_second_client() {
        let turns = Turns::default();
        for stretch in 0..200 {
            // Every second draw goes to another client.
            let draws: Vec<u64> = (0..1000).map(|_| turns.draw(100)).step_by(2).collect();
            assert!(draws.iter().all(|draw| *draw < 100));
            let below: usize = draws.iter().filter(|draw| **draw < 70).count();
            assert!(below.abs_diff(350) <= 5, "{below} of 500 in stretch {stretch}");
        }
    }
}

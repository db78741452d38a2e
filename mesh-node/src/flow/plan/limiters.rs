//! The rate limits of a plan. A limit that a Service or a route sets counts all requests that fall under it, whichever
//! rule they fall under, and goes on counting when the plan is compiled anew.

use std::sync::Arc;

use mesh_model::{RateLimit, RequestPolicy, ResourceName};

use crate::resilience::RateLimiter;

/// A rate limit and its count.
#[derive(Debug)]
pub struct Limiter {
    limit: RateLimit,
    /// The count.
    pub limiter: RateLimiter,
}

/// The limits of a plan.
#[derive(Debug, Default)]
pub struct Limiters {
    /// With the route that sets it; `None` for the Service.
    all: Vec<(Option<ResourceName>, Arc<Limiter>)>,
}

// === impl Limiters ===

impl Limiters {
    /// The limits of a rule of `route`, or of the Service, which has the policy `service`. Those that the plan has already,
    /// or had before (`former`), are shared.
    pub(super) fn of(
        &mut self,
        route: Option<&ResourceName>,
        policy: &RequestPolicy,
        service: &RequestPolicy,
        former: Option<&Limiters>,
    ) -> Vec<Arc<Limiter>> {
        let mut limiters = Vec::with_capacity(policy.rate_limits.len());
        for limit in &policy.rate_limits {
            // What a rule has from its Service is the Service's.
            let scope = route.filter(|_| !service.rate_limits.contains(limit));
            let known = self.find(scope, limit);
            let limiter = known.or_else(|| {
                let limiter = former
                    .and_then(|former| former.find(scope, limit))
                    .unwrap_or_else(|| {
                        Arc::new(Limiter {
                            limiter: RateLimiter::new(limit),
                            limit: limit.clone(),
                        })
                    });
                self.all.push((scope.cloned(), Arc::clone(&limiter)));
                Some(limiter)
            });
            limiters.extend(limiter);
        }
        limiters
    }

    fn find(&self, scope: Option<&ResourceName>, limit: &RateLimit) -> Option<Arc<Limiter>> {
        self.all
            .iter()
            .find(|(route, limiter)| route.as_ref() == scope && limiter.limit == *limit)
            .map(|(_, limiter)| Arc::clone(limiter))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mesh_model::RateLimitKey;

    use super::*;

    fn policy(requests: &[u32]) -> RequestPolicy {
        let limit = |requests: &u32| RateLimit {
            requests: *requests,
            interval: Duration::from_secs(1),
            burst: 1,
            key: RateLimitKey::Service,
        };
        RequestPolicy {
            rate_limits: requests.iter().map(limit).collect(),
            ..RequestPolicy::default()
        }
    }

    #[test]
    fn a_limit_counts_for_all_rules_that_it_is_set_for() {
        let (one, other) = ("shop/one".parse().unwrap(), "shop/other".parse().unwrap());
        let service = policy(&[5]);
        let mut limiters = Limiters::default();
        let mut of = |route, policy: &RequestPolicy| limiters.of(route, policy, &service, None);
        let fallback = of(None, &service);
        let first = of(Some(&one), &policy(&[5, 7]));
        let second = of(Some(&one), &policy(&[7]));
        let elsewhere = of(Some(&other), &policy(&[5, 7]));
        assert!(Arc::ptr_eq(&fallback[0], &first[0]) && Arc::ptr_eq(&fallback[0], &elsewhere[0]));
        assert!(
            Arc::ptr_eq(&first[1], &second[0]),
            "one route's rules share its limit"
        );
        assert!(!Arc::ptr_eq(&first[1], &elsewhere[1]), "two routes do not");

        let mut next = Limiters::default();
        let again = next.of(Some(&one), &policy(&[7, 9]), &service, Some(&limiters));
        assert!(
            Arc::ptr_eq(&again[0], &second[0]),
            "what stays the same goes on counting"
        );
    }
}

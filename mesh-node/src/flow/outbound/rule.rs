//! Which rule of TCPRoutes and TLSRoutes a connection falls under, and which backend it draws.

use std::sync::Arc;

use mesh_model::RuleName;

use crate::flow::failure::Failure;
use crate::flow::plan::rule::ConnectionRule;
use crate::flow::plan::{Plan, Rules};
use crate::resilience::Backend;

/// Where a connection goes, drawn by weight among its rule's backends; where no rule is for connections, to the Service.
/// And the rule.
pub(super) fn backend(
    plan: &Plan,
    server_name: Option<&str>,
) -> Result<(Arc<Backend>, Option<Arc<RuleName>>), Failure> {
    let service = || plan.service.name.to_string();
    let rule = match &plan.rules {
        Rules::None | Rules::Http(_) => return Ok((Arc::clone(&plan.backend), None)),
        Rules::Broken(reason) => {
            return Err(Failure::Routes {
                service: service(),
                reason: reason.clone(),
            });
        }
        Rules::Tcp(rules) => rules.first(),
        Rules::Tls(rules) => most_specific(rules, server_name),
    };
    let rule = rule.ok_or_else(|| Failure::NoRoute {
        service: service(),
        server_name: server_name.map(str::to_owned),
    })?;
    let nowhere = |reason: &str| Failure::NoBackend {
        rule: rule.name.to_string(),
        reason: reason.to_owned(),
    };
    let target = rule.backends.draw();
    let target = target.ok_or_else(|| nowhere("it has no backend with a weight"))?;
    match &target.backend {
        Ok(backend) => Ok((Arc::clone(backend), Some(Arc::clone(&rule.name)))),
        Err(reason) => Err(nowhere(reason)),
    }
}

/// The rule whose name for the server is the most specific: itself, then the longest with a wildcard, then none. The
/// first of those that are alike.
fn most_specific<'a>(rules: &'a [ConnectionRule], server_name: Option<&str>) -> Option<&'a ConnectionRule> {
    let mut best: Option<(usize, &ConnectionRule)> = None;
    for rule in rules {
        if let Some(rank) = rank(&rule.server_names, server_name)
            && best.is_none_or(|(other, _)| other < rank)
        {
            best = Some((rank, rule));
        }
    }
    best.map(|(_, rule)| rule)
}

/// How specific the best of the patterns is that matches; 0 when there are none, and everything matches.
fn rank(patterns: &[String], server_name: Option<&str>) -> Option<usize> {
    if patterns.is_empty() {
        return Some(0);
    }
    let server_name = server_name?;
    patterns
        .iter()
        .filter_map(|pattern| match pattern.strip_prefix('*') {
            // One or more labels in the place of the asterisk.
            Some(suffix) => {
                let start = server_name
                    .len()
                    .checked_sub(suffix.len())
                    .filter(|start| *start > 0)?;
                let end = server_name.get(start..)?;
                end.eq_ignore_ascii_case(suffix).then_some(suffix.len())
            }
            None => pattern.eq_ignore_ascii_case(server_name).then_some(usize::MAX),
        })
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranks(patterns: &[&str], server_name: Option<&str>) -> Option<usize> {
        let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        rank(&patterns, server_name)
    }

    #[test]
    fn the_name_itself_goes_before_wildcards_and_those_before_none() {
        let name = Some("a.shop.test");
        let exact = ranks(&["a.shop.test"], name);
        let (long, short) = (ranks(&["*.shop.test"], name), ranks(&["*.test"], name));
        let any = ranks(&[], name);
        assert!(exact > long && long > short && short > any && any == Some(0));
        assert_eq!(ranks(&["*.test", "x.test", "*.shop.test"], name), long);
        assert_eq!(ranks(&["A.Shop.Test"], name), exact);
    }

    #[test]
    fn a_wildcard_stands_for_one_label_at_least() {
        assert_eq!(ranks(&["*.shop.test"], Some("shop.test")), None);
        assert_eq!(ranks(&["*.shop.test"], Some(".shop.test")), None);
        assert_eq!(ranks(&["*.shop.test"], Some("myshop.test")), None);
        assert!(ranks(&["*.shop.test"], Some("a.b.shop.test")).is_some());
    }

    #[test]
    fn without_a_server_name_only_rules_without_one_match() {
        assert_eq!(ranks(&["*.test", "a.test"], None), None);
        assert_eq!(ranks(&[], None), Some(0));
    }
}

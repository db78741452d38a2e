//! Route tables: the rule for a request, by the precedence of Gateway API.
//!
//! Owns the order of matches and the way to the first one that a request fulfils. All of it is compiled beforehand: a
//! search allocates nothing and takes no lock. It takes for granted that paths are in the form of [`crate::path`], and
//! knows nothing of what a rule does with a request.
//!
//! - Of HTTPRoutes' matches the first is that with an exact path; then those with a regular expression, the longer first;
//!   then those with a prefix, the longer first; then by whether there is a method, by the number of headers, by that of
//!   query parameters (HTTPRouteRule.matches). Gateway API leaves the place of regular expressions open; here they go before
//!   prefixes, or the prefix `/` would hide them all.
//! - Of GRPCRoutes' matches: by the length of the service, by that of the method, by the number of headers.
//! - Ties are broken by the rule's place in the list, then the match's place in the rule.

mod compiled;
mod condition;
mod index;
mod pattern;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::request::Parts;
use mesh_model::{HttpMatch, HttpRule, PathMatch, RuleName};

use compiled::{Compiled, PathTest, Precedence};
use index::Index;
use pattern::Pattern;

/// The rules of one Service's port, compiled. `P` is what the caller hangs on each rule.
#[derive(Debug)]
pub struct Table<P> {
    payloads: Box<[P]>,
    /// In order of precedence.
    matches: Box<[Compiled]>,
    /// Of each match, its rule's place.
    rules: Box<[usize]>,
    index: Index,
}

/// The rule for a request.
#[derive(Debug)]
pub struct Matched<'a, P> {
    /// What hangs on the rule.
    pub payload: &'a P,
    /// The path prefix that matched, without a slash at its end; `None` when the rule's match is of another kind.
    pub prefix: Option<&'a str>,
}

/// Whether a request is one of some.
#[derive(Debug)]
pub struct Matcher(Box<[Compiled]>);

/// A match that cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}match {at}: the {field} '{value}' {reason}", rule.as_ref().map(|rule| format!("rule {rule}, ")).unwrap_or_default())]
pub struct TableError {
    /// The rule; absent for matches that belong to none.
    pub rule: Option<Arc<RuleName>>,
    /// The match's place in the rule, from 0.
    pub at: usize,
    /// What of it is wrong.
    pub field: &'static str,
    /// What it says.
    pub value: String,
    /// Why that cannot be.
    pub reason: String,
}

/// Which match is being compiled.
struct Place<'a> {
    rule: Option<&'a Arc<RuleName>>,
    at: usize,
}

// === impl Table ===

impl<P> Table<P> {
    /// Compiles rules with the precedence of HTTPRoute. `payload` gets each rule's place and the rule.
    pub fn http(rules: &[HttpRule], payload: impl FnMut(usize, &HttpRule) -> P) -> Result<Self, TableError> {
        Self::new(rules, payload, Precedence::http)
    }

    /// Compiles rules with the precedence of GRPCRoute.
    pub fn grpc(rules: &[HttpRule], payload: impl FnMut(usize, &HttpRule) -> P) -> Result<Self, TableError> {
        Self::new(rules, payload, Precedence::grpc)
    }

    fn new(
        rules: &[HttpRule],
        mut payload: impl FnMut(usize, &HttpRule) -> P,
        precedence: fn(&HttpMatch, &Compiled) -> Option<Precedence>,
    ) -> Result<Self, TableError> {
        let mut payloads = Vec::with_capacity(rules.len());
        let mut sorted = Vec::new();
        for (rule, route) in rules.iter().enumerate() {
            payloads.push(payload(rule, route));
            for (at, wanted) in route.matches.iter().enumerate() {
                let place = Place {
                    rule: Some(&route.name),
                    at,
                };
                let compiled = Compiled::new(wanted, &place)?;
                let precedence = precedence(wanted, &compiled).ok_or_else(|| {
                    place.error(
                        "path",
                        &format!("{:?}", wanted.path),
                        "is not of the route's kind",
                    )
                })?;
                sorted.push((precedence, rule, wanted, compiled));
            }
        }
        // Stable: rules and matches of one precedence stay in their order.
        sorted.sort_by_key(|(precedence, ..)| *precedence);
        let beginnings: Vec<String> = sorted
            .iter()
            .map(|(_, _, wanted, _)| match &wanted.path {
                PathMatch::Regex(regex) => pattern::literal_prefix(regex),
                _ => String::new(),
            })
            .collect();
        let rules = sorted.iter().map(|(_, rule, ..)| *rule).collect();
        let matches: Box<[Compiled]> = sorted.into_iter().map(|(.., compiled)| compiled).collect();
        let index = Index::new(&matches, |at| beginnings.get(at).map_or("", String::as_str));
        Ok(Self {
            payloads: payloads.into(),
            matches,
            rules,
            index,
        })
    }

    /// The rule for a request; `None` when no rule matches it, which is answered 404. The request's path must be in the
    /// form of [`crate::path`].
    pub fn find<'a>(&'a self, request: &Parts) -> Option<Matched<'a, P>> {
        let rank = self.index.first(&self.matches, request)? as usize;
        let payload = self.payloads.get(*self.rules.get(rank)?)?;
        let prefix = match &self.matches.get(rank)?.path {
            PathTest::Prefix(prefix) => Some(&**prefix),
            _ => None,
        };
        Some(Matched { payload, prefix })
    }
}

// === impl Matcher ===

impl Matcher {
    /// Compiles matches. None at all match no request.
    pub fn new(matches: &[HttpMatch]) -> Result<Self, TableError> {
        let compile = |(at, wanted)| Compiled::new(wanted, &Place { rule: None, at });
        matches
            .iter()
            .enumerate()
            .map(compile)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether any of them matches the request.
    pub fn matches(&self, request: &Parts) -> bool {
        self.0.iter().any(|wanted| wanted.matches(request))
    }
}

// === impl Place ===

impl Place<'_> {
    fn error(&self, field: &'static str, value: &str, reason: &str) -> TableError {
        TableError {
            rule: self.rule.cloned(),
            at: self.at,
            field,
            value: value.to_owned(),
            reason: reason.to_owned(),
        }
    }

    fn pattern(&self, expression: &str) -> Result<Pattern, TableError> {
        Pattern::new(expression).map_err(|reason| {
            self.error(
                "regular expression",
                expression,
                &format!("does not compile: {reason}"),
            )
        })
    }
}

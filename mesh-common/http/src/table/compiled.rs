//! One match of a rule, compiled: what a path must be like, the other conditions, and its place in the order.

use std::cmp::Reverse;

use http::request::Parts;
use mesh_model::{HttpMatch, PathMatch, TextMatch};

use super::condition::{Conditions, Text};
use super::pattern::Pattern;
use super::{Place, TableError};
use crate::path;

/// A match of a rule.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) path: PathTest,
    pub(super) conditions: Conditions,
}

/// What a path must be like.
#[derive(Debug)]
pub(super) enum PathTest {
    /// In the form of [`path::normalise`].
    Exact(Box<str>),
    /// Likewise, without a slash at its end; empty: every path.
    Prefix(Box<str>),
    Regex(Box<Pattern>),
    Grpc {
        service: Option<Text>,
        method: Option<Text>,
    },
}

/// Sorts matches: what goes first is smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Precedence {
    /// HTTPRouteRule's: exact paths, then regular expressions, then prefixes, each kind by its length; then those with a
    /// method, by the number of headers, by that of query parameters.
    Http {
        kind: u8,
        length: Reverse<usize>,
        has_no_method: bool,
        headers: Reverse<usize>,
        query: Reverse<usize>,
    },
    /// GRPCRouteRule's: by the lengths of service and method, then by the number of headers.
    Grpc {
        service: Reverse<usize>,
        method: Reverse<usize>,
        headers: Reverse<usize>,
    },
}

// === impl Compiled ===

impl Compiled {
    pub(super) fn new(wanted: &HttpMatch, place: &Place<'_>) -> Result<Self, TableError> {
        Ok(Self {
            path: PathTest::new(&wanted.path, place)?,
            conditions: Conditions::new(wanted, place)?,
        })
    }

    pub(super) fn matches(&self, request: &Parts) -> bool {
        self.path.matches(request.uri.path()) && self.conditions.hold(request)
    }
}

// === impl PathTest ===

impl PathTest {
    fn new(wanted: &PathMatch, place: &Place<'_>) -> Result<Self, TableError> {
        let normal = |path: &str| {
            let normal = path::normalise(path)
                .map_err(|error| place.error("path", path, &format!("cannot be: {error}")))?;
            if normal.contains('?') {
                return Err(place.error("path", path, "contains '?', which ends a path"));
            }
            Ok(normal.into_owned())
        };
        let text =
            |wanted: &Option<TextMatch>| wanted.as_ref().map(|text| Text::new(text, place)).transpose();
        match wanted {
            PathMatch::Exact(path) => Ok(Self::Exact(normal(path)?.into())),
            PathMatch::Prefix(path) => {
                let mut normal = normal(path)?;
                if normal.ends_with('/') {
                    normal.pop();
                }
                if normal.split('/').skip(1).any(str::is_empty) {
                    return Err(place.error("path", path, "is a prefix with an empty segment"));
                }
                Ok(Self::Prefix(normal.into()))
            }
            PathMatch::Regex(regex) => place.pattern(regex).map(|pattern| Self::Regex(Box::new(pattern))),
            PathMatch::Grpc { service, method } => Ok(Self::Grpc {
                service: text(service)?,
                method: text(method)?,
            }),
        }
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *path,
            Self::Prefix(prefix) => {
                prefix.is_empty()
                    || path
                        .strip_prefix(&**prefix)
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Regex(_) | Self::Grpc { .. } => self.matches_further(path),
        }
    }

    /// What the index leaves open: it finds exact paths and prefixes for certain, the others among more.
    pub(super) fn matches_further(&self, path: &str) -> bool {
        match self {
            Self::Exact(_) | Self::Prefix(_) => true,
            Self::Regex(pattern) => pattern.matches(path.bytes()),
            Self::Grpc { service, method } => {
                let like = |wanted: &Option<Text>, found: &str| {
                    wanted
                        .as_ref()
                        .is_none_or(|wanted| wanted.is_like(found.as_bytes()))
                };
                grpc_call(path)
                    .is_some_and(|(called, function)| like(service, called) && like(method, function))
            }
        }
    }
}

/// The service and method of a path of the form `/service/method`.
fn grpc_call(path: &str) -> Option<(&str, &str)> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    (!service.is_empty() && !method.is_empty() && !method.contains('/')).then_some((service, method))
}

// === impl Precedence ===

impl Precedence {
    /// Among HTTPRoutes' matches; `None` for a path that they do not have.
    pub(super) fn http(wanted: &HttpMatch, compiled: &Compiled) -> Option<Self> {
        let (kind, length) = match (&wanted.path, &compiled.path) {
            (_, PathTest::Exact(path)) => (0, path.chars().count()),
            (PathMatch::Regex(regex), _) => (1, regex.chars().count()),
            (_, PathTest::Prefix(path)) => (2, path.chars().count()),
            _ => return None,
        };
        Some(Self::Http {
            kind,
            length: Reverse(length),
            has_no_method: compiled.conditions.method.is_none(),
            headers: Reverse(compiled.conditions.headers.len()),
            query: Reverse(compiled.conditions.query.len()),
        })
    }

    /// Among GRPCRoutes' matches; `None` for a path that they do not have. The prefix `/` stands for every call.
    pub(super) fn grpc(wanted: &HttpMatch, compiled: &Compiled) -> Option<Self> {
        let (service, method) = match (&wanted.path, &compiled.path) {
            (PathMatch::Grpc { service, method }, _) => (length(service.as_ref()), length(method.as_ref())),
            (_, PathTest::Prefix(all)) if all.is_empty() => (0, 0),
            _ => return None,
        };
        Some(Self::Grpc {
            service: Reverse(service),
            method: Reverse(method),
            headers: Reverse(compiled.conditions.headers.len()),
        })
    }
}

fn length(text: Option<&TextMatch>) -> usize {
    match text {
        Some(TextMatch::Exact(text) | TextMatch::Regex(text)) => text.chars().count(),
        None => 0,
    }
}

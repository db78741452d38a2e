//! The rule for a request, found the slow way: every match of every rule is tried, and those that hold are compared, one
//! criterion after the other, in the words of Gateway API. It shares no code with the table.

#![expect(clippy::unwrap_used, reason = "in a test, a failure's place is what matters")]

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::HashMap;

use http::request::Parts;
use mesh_model::{HttpMatch, HttpRule, PathMatch, TextMatch, ValueMatch};
use regex::bytes::{Regex, RegexBuilder};

thread_local! {
    /// There are few expressions, and compiling takes long.
    static COMPILED: RefCell<HashMap<String, Regex>> = RefCell::new(HashMap::new());
}

/// Whose precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// HTTPRoute's.
    Http,
    /// GRPCRoute's.
    Grpc,
}

/// The rule's place, and the prefix that matched, without a slash at its end.
pub(crate) type Found = (usize, Option<String>);

/// The rule for a request.
pub(crate) fn find(rules: &[HttpRule], kind: Kind, request: &Parts) -> Option<Found> {
    let all = rules
        .iter()
        .enumerate()
        .flat_map(|(rule, route)| route.matches.iter().map(move |wanted| (rule, wanted)));
    let mut best: Option<(usize, &HttpMatch)> = None;
    for (rule, wanted) in all.filter(|(_, wanted)| holds(wanted, request)) {
        // The first of equals stays.
        if best.is_none_or(|(_, best)| compare(kind, wanted, best) == Ordering::Greater) {
            best = Some((rule, wanted));
        }
    }
    best.map(|(rule, wanted)| match &wanted.path {
        PathMatch::Prefix(prefix) => (rule, Some(without_slash(prefix).to_owned())),
        _ => (rule, None),
    })
}

/// Greater goes before.
fn compare(kind: Kind, one: &HttpMatch, other: &HttpMatch) -> Ordering {
    let headers = distinct(&one.headers, true)
        .len()
        .cmp(&distinct(&other.headers, true).len());
    if kind == Kind::Grpc {
        let (one, other) = (call_lengths(one), call_lengths(other));
        return one.0.cmp(&other.0).then(one.1.cmp(&other.1)).then(headers);
    }
    let path = |wanted: &HttpMatch| match &wanted.path {
        PathMatch::Exact(path) => (3, path.chars().count()),
        PathMatch::Regex(path) => (2, path.chars().count()),
        PathMatch::Prefix(path) => (1, without_slash(path).chars().count()),
        PathMatch::Grpc { .. } => (0, 0),
    };
    path(one)
        .cmp(&path(other))
        .then(one.method.is_some().cmp(&other.method.is_some()))
        .then(headers)
        .then(
            distinct(&one.query, false)
                .len()
                .cmp(&distinct(&other.query, false).len()),
        )
}

fn call_lengths(wanted: &HttpMatch) -> (usize, usize) {
    let length = |text: &Option<TextMatch>| match text {
        Some(TextMatch::Exact(text) | TextMatch::Regex(text)) => text.chars().count(),
        None => 0,
    };
    match &wanted.path {
        PathMatch::Grpc { service, method } => (length(service), length(method)),
        _ => (0, 0),
    }
}

fn holds(wanted: &HttpMatch, request: &Parts) -> bool {
    path_holds(&wanted.path, request.uri.path())
        && wanted
            .method
            .as_ref()
            .is_none_or(|method| method == request.method.as_str())
        && distinct(&wanted.headers, true).into_iter().all(|header| {
            let lines: Vec<&[u8]> = request
                .headers
                .iter()
                .filter(|(name, _)| name.as_str().eq_ignore_ascii_case(&header.name))
                .map(|(_, value)| value.as_bytes())
                .collect();
            !lines.is_empty() && is_like(&header.value, &lines.join(&b","[..]))
        })
        && distinct(&wanted.query, false).into_iter().all(|parameter| {
            form_urlencoded::parse(request.uri.query().unwrap_or_default().as_bytes())
                .find(|(name, _)| *name == parameter.name)
                .is_some_and(|(_, value)| is_like(&parameter.value, value.as_bytes()))
        })
}

fn path_holds(wanted: &PathMatch, path: &str) -> bool {
    match wanted {
        PathMatch::Exact(exact) => exact == path,
        PathMatch::Prefix(prefix) => {
            let prefix: Vec<&str> = without_slash(prefix).split('/').collect();
            let path: Vec<&str> = path.split('/').collect();
            prefix == [""] || path.starts_with(&prefix)
        }
        PathMatch::Regex(regex) => is_like(&TextMatch::Regex(regex.clone()), path.as_bytes()),
        PathMatch::Grpc { service, method } => {
            let parts: Vec<&str> = path.split('/').collect();
            let like = |wanted: &Option<TextMatch>, part: &str| {
                !part.is_empty()
                    && wanted
                        .as_ref()
                        .is_none_or(|wanted| is_like(wanted, part.as_bytes()))
            };
            matches!(parts[..], ["", called, function] if like(service, called) && like(method, function))
        }
    }
}

fn is_like(wanted: &TextMatch, value: &[u8]) -> bool {
    match wanted {
        TextMatch::Exact(text) => text.as_bytes() == value,
        TextMatch::Regex(regex) => COMPILED.with_borrow_mut(|compiled| {
            let compile = || {
                let whole = format!("\\A(?:{regex})\\z");
                RegexBuilder::new(&whole).unicode(false).build().unwrap()
            };
            compiled
                .entry(regex.clone())
                .or_insert_with(compile)
                .is_match(value)
        }),
    }
}

/// Without those whose name an earlier one has.
fn distinct(all: &[ValueMatch], any_case: bool) -> Vec<&ValueMatch> {
    let same = |one: &str, other: &str| one == other || any_case && one.eq_ignore_ascii_case(other);
    let mut kept: Vec<&ValueMatch> = Vec::new();
    for value in all {
        if !kept.iter().any(|known| same(&known.name, &value.name)) {
            kept.push(value);
        }
    }
    kept
}

fn without_slash(prefix: &str) -> &str {
    prefix.strip_suffix('/').unwrap_or(prefix)
}

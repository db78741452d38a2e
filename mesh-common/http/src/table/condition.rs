//! What a request must be like besides its path: method, headers, query parameters.

use http::header::{COOKIE, HOST, HeaderName};
use http::method::Method;
use http::request::Parts;
use mesh_model::{HttpMatch, TextMatch, ValueMatch};

use super::pattern::Pattern;
use super::{Place, TableError};
use crate::headers;
use crate::query;

/// All of it must hold.
#[derive(Debug)]
pub(super) struct Conditions {
    pub(super) method: Option<Method>,
    /// No name twice.
    pub(super) headers: Box<[Header]>,
    /// No name twice.
    pub(super) query: Box<[Parameter]>,
}

/// A header and what its value must be like.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) name: HeaderName,
    pub(super) value: Text,
}

/// A query parameter and what its first value must be like, both decoded.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: Box<str>,
    pub(super) value: Text,
}

/// What a text must be like.
#[derive(Debug)]
pub(super) enum Text {
    Exact(Box<str>),
    Regex(Box<Pattern>),
}

/// The value of a request's header or query parameter.
pub(super) enum Field<'a> {
    Absent,
    /// In one piece.
    One(&'a [u8]),
    /// Of several lines, or with escapes.
    Many,
}

// === impl Conditions ===

impl Conditions {
    pub(super) fn new(wanted: &HttpMatch, place: &Place<'_>) -> Result<Self, TableError> {
        let method = wanted.method.as_deref().map(|method| {
            Method::from_bytes(method.as_bytes())
                .map_err(|_| place.error("method", method, "is no HTTP method"))
        });
        let mut fields: Vec<Header> = Vec::new();
        for header in &wanted.headers {
            let name = HeaderName::from_bytes(header.name.as_bytes())
                .map_err(|_| place.error("header", &header.name, "is no header's name"))?;
            // Of equivalent names the first entry counts (HTTPHeaderMatch).
            if fields.iter().all(|known| known.name != name) {
                let value = Text::new(&header.value, place)?;
                fields.push(Header { name, value });
            }
        }
        let mut query: Vec<Parameter> = Vec::new();
        for ValueMatch { name, value } in &wanted.query {
            if query.iter().all(|known| *known.name != **name) {
                let value = Text::new(value, place)?;
                let name = name.as_str().into();
                query.push(Parameter { name, value });
            }
        }
        Ok(Self {
            method: method.transpose()?,
            headers: fields.into(),
            query: query.into(),
        })
    }

    pub(super) fn hold(&self, request: &Parts) -> bool {
        self.method
            .as_ref()
            .is_none_or(|method| *method == request.method)
            && self.headers.iter().all(|header| header.holds(request))
            && self.query.iter().all(|parameter| parameter.holds(request))
    }
}

// === impl Header ===

impl Header {
    fn holds(&self, request: &Parts) -> bool {
        match field(request, &self.name) {
            Field::Absent => false,
            Field::One(value) => self.value.is_like(value),
            Field::Many => self.value.matches(joined(request, &self.name)),
        }
    }
}

/// The value of a header. That of Host is the authority that the request is for, wherever it stands.
pub(super) fn field<'a>(request: &'a Parts, name: &HeaderName) -> Field<'a> {
    if *name == HOST {
        return headers::authority(request).map_or(Field::Absent, |host| Field::One(host.as_bytes()));
    }
    let mut lines = request.headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Field::Absent,
        (Some(line), None) => Field::One(line.as_bytes()),
        (Some(_), Some(_)) => Field::Many,
    }
}

/// The lines of a header as one value: with commas in between (RFC 9110 §5.3), those of Cookie as if it had not been
/// split (RFC 9113 §8.2.3).
fn joined<'a>(request: &'a Parts, name: &HeaderName) -> impl Iterator<Item = u8> + 'a {
    let separator: &[u8] = if *name == COOKIE { b"; " } else { b"," };
    let lines = request.headers.get_all(name).iter().enumerate();
    lines.flat_map(move |(at, line)| {
        let before = if at == 0 { &[] } else { separator };
        before.iter().chain(line.as_bytes()).copied()
    })
}

// === impl Parameter ===

impl Parameter {
    fn holds(&self, request: &Parts) -> bool {
        query::first(request.uri.query().unwrap_or_default(), &self.name)
            .is_some_and(|value| self.value.matches(query::decoded(value)))
    }
}

/// The first value of a query parameter.
pub(super) fn parameter<'a>(request: &'a Parts, name: &str) -> Field<'a> {
    match query::first(request.uri.query().unwrap_or_default(), name) {
        None => Field::Absent,
        Some(value) if query::is_plain(value) => Field::One(value.as_bytes()),
        Some(_) => Field::Many,
    }
}

// === impl Text ===

impl Text {
    pub(super) fn new(wanted: &TextMatch, place: &Place<'_>) -> Result<Self, TableError> {
        match wanted {
            TextMatch::Exact(text) => Ok(Self::Exact(text.as_str().into())),
            TextMatch::Regex(regex) => place.pattern(regex).map(|pattern| Self::Regex(Box::new(pattern))),
        }
    }

    pub(super) fn exact(&self) -> Option<&str> {
        match self {
            Self::Exact(text) => Some(text),
            Self::Regex(_) => None,
        }
    }

    pub(super) fn is_like(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(text) => text.as_bytes() == value,
            Self::Regex(pattern) => pattern.matches(value.iter().copied()),
        }
    }

    fn matches(&self, value: impl Iterator<Item = u8>) -> bool {
        match self {
            Self::Exact(text) => value.eq(text.bytes()),
            Self::Regex(pattern) => pattern.matches(value),
        }
    }
}

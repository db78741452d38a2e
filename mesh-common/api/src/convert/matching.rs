//! `nodemesh.v1.HttpMatch`, of a route's rule or a fault.

use mesh_model::{HttpMatch, PathMatch, TextMatch, ValueMatch};

use super::check::{header_name, not_empty, token};
use super::wire::{http_match, text_match};
use super::{ConvertError, each, value, wire};

pub(super) fn to_wire(matching: &HttpMatch) -> wire::HttpMatch {
    let path = match &matching.path {
        PathMatch::Exact(path) => http_match::Path::Exact(path.clone()),
        PathMatch::Prefix(path) => http_match::Path::Prefix(path.clone()),
        PathMatch::Regex(regex) => http_match::Path::Regex(regex.clone()),
        PathMatch::Grpc { service, method } => http_match::Path::Grpc(wire::GrpcMethod {
            service: service.as_ref().map(text_to_wire),
            method: method.as_ref().map(text_to_wire),
        }),
    };
    wire::HttpMatch {
        path: Some(path),
        method: matching.method.clone().unwrap_or_default(),
        headers: matching.headers.iter().map(value_to_wire).collect(),
        query: matching.query.iter().map(value_to_wire).collect(),
    }
}

pub(super) fn from_wire(message: wire::HttpMatch) -> Result<HttpMatch, ConvertError> {
    let path = message.path.ok_or_else(|| value("path", "is missing"))?;
    Ok(HttpMatch {
        path: path_from_wire(path).map_err(|error| error.within("path"))?,
        method: match message.method {
            method if method.is_empty() => None,
            method => Some(token("method", method)?),
        },
        headers: each("headers", message.headers, |header| {
            value_from_wire(header, header_name)
        })?,
        query: each("query", message.query, |parameter| {
            value_from_wire(parameter, not_empty)
        })?,
    })
}

fn path_from_wire(path: http_match::Path) -> Result<PathMatch, ConvertError> {
    Ok(match path {
        http_match::Path::Exact(path) => PathMatch::Exact(absolute("exact", path)?),
        http_match::Path::Prefix(path) => PathMatch::Prefix(absolute("prefix", path)?),
        http_match::Path::Regex(regex) => PathMatch::Regex(regex),
        http_match::Path::Grpc(method) => PathMatch::Grpc {
            service: optional_text_from_wire("grpc.service", method.service)?,
            method: optional_text_from_wire("grpc.method", method.method)?,
        },
    })
}

/// Nothing else is a prefix of a request's path.
fn absolute(field: &str, path: String) -> Result<String, ConvertError> {
    if path.starts_with('/') {
        Ok(path)
    } else {
        Err(value(field, format!("'{path}' does not begin with /")))
    }
}

fn value_to_wire(matching: &ValueMatch) -> wire::ValueMatch {
    wire::ValueMatch {
        name: matching.name.clone(),
        value: Some(text_to_wire(&matching.value)),
    }
}

fn value_from_wire(
    message: wire::ValueMatch,
    name: impl Fn(&str, String) -> Result<String, ConvertError>,
) -> Result<ValueMatch, ConvertError> {
    Ok(ValueMatch {
        name: name("name", message.name)?,
        value: optional_text_from_wire("value", message.value)?
            .ok_or_else(|| value("value", "is missing"))?,
    })
}

fn text_to_wire(matching: &TextMatch) -> wire::TextMatch {
    wire::TextMatch {
        r#match: Some(match matching {
            TextMatch::Exact(text) => text_match::Match::Exact(text.clone()),
            TextMatch::Regex(regex) => text_match::Match::Regex(regex.clone()),
        }),
    }
}

fn optional_text_from_wire(
    field: &str,
    message: Option<wire::TextMatch>,
) -> Result<Option<TextMatch>, ConvertError> {
    match message.map(|message| message.r#match) {
        None => Ok(None),
        Some(None) => Err(value(field, "is neither exact nor a regex")),
        Some(Some(text_match::Match::Exact(text))) => Ok(Some(TextMatch::Exact(text))),
        Some(Some(text_match::Match::Regex(regex))) => Ok(Some(TextMatch::Regex(regex))),
    }
}

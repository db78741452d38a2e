//! Matches (Gateway API v1.5, HTTPRouteMatch and GRPCRouteMatch).

use mesh_http::table::Matcher;
use mesh_model::{HttpMatch, PathMatch, TextMatch, ValueMatch};
use serde::Deserialize;

use crate::source::manifest::reader::Reader;
use crate::source::manifest::text;

/// Methods that may be named (HTTPMethod).
pub(in super::super) const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];
/// Most matches of a rule (HTTPRouteRule).
const MAX_MATCHES: usize = 64;
/// Most headers and query parameters of a match (HTTPRouteMatch).
const MAX_VALUES: usize = 16;
/// Longest path, query parameter's value, gRPC service and method.
const MAX_SHORT: usize = 1024;
/// Longest header's value.
const MAX_HEADER: usize = 4096;

/// Gateway API's HTTPRouteMatch.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in super::super) struct RawHttpMatch {
    path: Option<RawPath>,
    headers: Option<Vec<RawValue>>,
    query_params: Option<Vec<RawValue>>,
    method: Option<String>,
}

/// Gateway API's GRPCRouteMatch.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawGrpcMatch {
    method: Option<RawGrpcMethod>,
    headers: Option<Vec<RawValue>>,
}

/// Gateway API's HTTPPathMatch.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPath {
    r#type: Option<String>,
    value: Option<String>,
}

/// Gateway API's GRPCMethodMatch.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGrpcMethod {
    r#type: Option<String>,
    service: Option<String>,
    method: Option<String>,
}

/// Gateway API's HTTPHeaderMatch, HTTPQueryParamMatch and GRPCHeaderMatch.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawValue {
    r#type: Option<String>,
    name: String,
    value: String,
}

/// What the name of a value is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Header,
    Query,
}

/// The matches of an HTTPRoute's rule; one that matches everything when there are none.
pub(super) fn http(raw: Option<Vec<RawHttpMatch>>, rule: &str, reader: &mut Reader<'_>) -> Vec<HttpMatch> {
    let mut matches = listed(raw, &format!("{rule}.matches"), reader);
    if matches.is_empty() {
        matches.push(HttpMatch::any());
    }
    matches
}

/// Matches in the form of an HTTPRoute's.
pub(in super::super) fn listed(
    raw: Option<Vec<RawHttpMatch>>,
    field: &str,
    reader: &mut Reader<'_>,
) -> Vec<HttpMatch> {
    let raw = reader.list(raw, MAX_MATCHES, field);
    let convert = |(index, raw): (usize, RawHttpMatch)| {
        let field = format!("{field}[{index}]");
        compiled(raw.convert(&field, reader), &field, reader)
    };
    raw.into_iter().enumerate().map(convert).collect()
}

/// The matches of a GRPCRoute's rule; one that matches every call when there are none.
pub(super) fn grpc(raw: Option<Vec<RawGrpcMatch>>, rule: &str, reader: &mut Reader<'_>) -> Vec<HttpMatch> {
    let field = format!("{rule}.matches");
    let raw = reader.list(raw, MAX_MATCHES, &field);
    let convert = |(index, raw): (usize, RawGrpcMatch)| {
        let field = format!("{field}[{index}]");
        compiled(raw.convert(&field, reader), &field, reader)
    };
    let mut matches: Vec<HttpMatch> = raw.into_iter().enumerate().map(convert).collect();
    if matches.is_empty() {
        matches.push(HttpMatch {
            path: PathMatch::Grpc {
                service: None,
                method: None,
            },
            ..HttpMatch::any()
        });
    }
    matches
}

/// Asks the data plane's own code whether it takes the match: regular expressions may be none, or too large.
fn compiled(converted: HttpMatch, field: &str, reader: &mut Reader<'_>) -> HttpMatch {
    if let Err(error) = Matcher::new(std::slice::from_ref(&converted)) {
        let message = format!("the {} '{}' {}", error.field, error.value, error.reason);
        reader.unsupported(field, message);
    }
    converted
}

/// Whether the text is to match exactly, or as a regular expression; `None` if the type is unknown.
fn text_match(kind: Option<&str>, value: String, field: &str, reader: &mut Reader<'_>) -> TextMatch {
    match kind {
        None | Some("Exact") => TextMatch::Exact(value),
        Some("RegularExpression") => TextMatch::Regex(value),
        Some(other) => {
            let message = format!("'{other}' is neither Exact nor RegularExpression");
            reader.unsupported(format!("{field}.type"), message);
            TextMatch::Exact(value)
        }
    }
}

/// Checks that a text has 1 to `most` bytes.
fn length(value: &str, most: usize, field: &str, reader: &mut Reader<'_>) {
    if !(1..=most).contains(&value.len()) {
        let message = format!("has {} bytes", value.len());
        reader.error(field, message, format!("write 1 to {most} bytes"));
    }
}

/// Headers or query parameters. Of equal names the first counts (HTTPHeaderMatch).
fn values(raw: Option<Vec<RawValue>>, place: Place, field: &str, reader: &mut Reader<'_>) -> Vec<ValueMatch> {
    let mut values: Vec<ValueMatch> = Vec::new();
    for (index, raw) in reader.list(raw, MAX_VALUES, field).into_iter().enumerate() {
        let field = format!("{field}[{index}]");
        let lower = reader.header_name(&raw.name, &format!("{field}.name"));
        let name = if place == Place::Header { lower } else { raw.name };
        let most = if place == Place::Header {
            MAX_HEADER
        } else {
            MAX_SHORT
        };
        length(&raw.value, most, &format!("{field}.value"), reader);
        let value = text_match(raw.r#type.as_deref(), raw.value, &field, reader);
        if values.iter().any(|earlier| earlier.name == name) {
            let message = format!("'{name}' is in the list already; the first entry counts");
            reader.note(field, message, "remove one of them");
            continue;
        }
        values.push(ValueMatch { name, value });
    }
    values
}

// === impl RawHttpMatch ===

impl RawHttpMatch {
    fn convert(self, field: &str, reader: &mut Reader<'_>) -> HttpMatch {
        if let Some(method) = &self.method
            && !METHODS.contains(&method.as_str())
        {
            let message =
                format!("'{method}' is no method that is known here; methods are written in capitals");
            reader.unsupported(format!("{field}.method"), message);
        }
        let path = match self.path {
            Some(path) => path.convert(&format!("{field}.path"), reader),
            None => PathMatch::Prefix("/".to_owned()),
        };
        HttpMatch {
            path,
            method: self.method,
            headers: values(self.headers, Place::Header, &format!("{field}.headers"), reader),
            query: values(
                self.query_params,
                Place::Query,
                &format!("{field}.queryParams"),
                reader,
            ),
        }
    }
}

// === impl RawGrpcMatch ===

impl RawGrpcMatch {
    fn convert(self, field: &str, reader: &mut Reader<'_>) -> HttpMatch {
        let path = match self.method {
            Some(method) => method.convert(&format!("{field}.method"), reader),
            None => PathMatch::Grpc {
                service: None,
                method: None,
            },
        };
        HttpMatch {
            path,
            method: None,
            headers: values(self.headers, Place::Header, &format!("{field}.headers"), reader),
            query: Vec::new(),
        }
    }
}

// === impl RawPath ===

impl RawPath {
    fn convert(self, field: &str, reader: &mut Reader<'_>) -> PathMatch {
        let value = self.value.unwrap_or_else(|| "/".to_owned());
        let value_field = format!("{field}.value");
        if value.len() > MAX_SHORT {
            let message = format!("has {} bytes", value.len());
            reader.error(
                value_field.as_str(),
                message,
                format!("write {MAX_SHORT} bytes at most"),
            );
        }
        match self.r#type.as_deref() {
            None | Some("PathPrefix") => {
                check_path(&value, &value_field, reader);
                PathMatch::Prefix(value)
            }
            Some("Exact") => {
                check_path(&value, &value_field, reader);
                PathMatch::Exact(value)
            }
            Some("RegularExpression") => PathMatch::Regex(value),
            Some(other) => {
                let message = format!("'{other}' is none of Exact, PathPrefix and RegularExpression");
                reader.unsupported(format!("{field}.type"), message);
                PathMatch::Exact(value)
            }
        }
    }
}

/// What the path of an Exact or PathPrefix match must be like (HTTPPathMatch). A path that requests can't have after
/// normalisation would never match.
fn check_path(path: &str, field: &str, reader: &mut Reader<'_>) {
    let lower = path.to_ascii_lowercase();
    let wrong = if !path.starts_with('/') {
        "does not begin with '/'"
    } else if let Some(part) = ["//", "/./", "/../", "%2f", "#"]
        .iter()
        .find(|part| lower.contains(**part))
    {
        let message = format!("'{path}' contains '{part}'");
        reader.error(field, message, "write the path as it is after normalisation");
        return;
    } else if path.ends_with("/..") || path.ends_with("/.") {
        "ends with '/.' or '/..'"
    } else if !text::is_path(path) {
        "has characters that paths don't have, or a broken escape"
    } else {
        return;
    };
    reader.error(
        field,
        format!("'{path}' {wrong}"),
        "write an absolute path, without query and fragment",
    );
}

// === impl RawGrpcMethod ===

impl RawGrpcMethod {
    fn convert(self, field: &str, reader: &mut Reader<'_>) -> PathMatch {
        if self.service.is_none() && self.method.is_none() {
            let message = "names neither a service nor a method";
            reader.error(
                field,
                message,
                "write one of them, or leave the method out to match every call",
            );
        }
        let is_regex = self.r#type.as_deref() == Some("RegularExpression");
        if let Some(other) = self.r#type.as_deref()
            && !matches!(other, "Exact" | "RegularExpression")
        {
            let message = format!("'{other}' is neither Exact nor RegularExpression");
            reader.unsupported(format!("{field}.type"), message);
        }
        let mut part = |part: Option<String>, name: &str, is_good: fn(&str) -> bool| {
            let value = part?;
            let field = format!("{field}.{name}");
            if is_regex {
                length(&value, MAX_SHORT, &field, reader);
                return Some(TextMatch::Regex(value));
            }
            let remedy =
                "use letters, digits and '_' (and '.' between the parts of a service), no digit first";
            let is_good = value.len() <= MAX_SHORT && is_good(&value);
            reader.form(is_good, &value, &field, &format!("gRPC {name}"), remedy);
            Some(TextMatch::Exact(value))
        };
        PathMatch::Grpc {
            service: part(self.service, "service", text::is_grpc_service),
            method: part(self.method, "method", text::is_grpc_method),
        }
    }
}

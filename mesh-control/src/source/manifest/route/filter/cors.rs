//! CORS (Gateway API v1.5, HTTPCORSFilter).

use mesh_model::Cors;
use serde::Deserialize;

use crate::source::manifest::reader::Reader;
use crate::source::manifest::route::matches::METHODS;

/// Most origins, and header names of a list (HTTPCORSFilter).
const MAX_ENTRIES: usize = 64;
/// Most methods.
const MAX_METHODS: usize = 9;
/// Longest origin (CORSOrigin).
const MAX_ORIGIN: usize = 253;
/// How long a preflight answer is kept without a `maxAge`, in seconds.
const DEFAULT_MAX_AGE: u32 = 5;
/// Stands for any origin, method or header.
const ANY: &str = "*";

/// Gateway API's HTTPCORSFilter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawCors {
    allow_origins: Option<Vec<String>>,
    allow_credentials: Option<bool>,
    allow_methods: Option<Vec<String>>,
    allow_headers: Option<Vec<String>>,
    expose_headers: Option<Vec<String>>,
    max_age: Option<u32>,
}

// === impl RawCors ===

impl RawCors {
    pub(super) fn convert(self, field: &str, reader: &mut Reader<'_>) -> Cors {
        let origins_field = format!("{field}.allowOrigins");
        let origins = reader.list(self.allow_origins, MAX_ENTRIES, &origins_field);
        alone(&origins, &origins_field, reader);
        for (index, text) in origins.iter().enumerate() {
            let field = format!("{origins_field}[{index}]");
            let remedy = "write SCHEME://HOST or SCHEME://HOST:PORT, without a path, or '*' for all";
            reader.form(is_origin(text), text, &field, "origin", remedy);
        }
        let methods_field = format!("{field}.allowMethods");
        let allow_methods = reader.list(self.allow_methods, MAX_METHODS, &methods_field);
        alone(&allow_methods, &methods_field, reader);
        for (index, method) in allow_methods.iter().enumerate() {
            if method != ANY && !METHODS.contains(&method.as_str()) {
                let message = format!("'{method}' is no method that is known here");
                reader.unsupported(format!("{methods_field}[{index}]"), message);
            }
        }
        let max_age = self.max_age.unwrap_or(DEFAULT_MAX_AGE);
        Cors {
            allow_origins: origins,
            allow_credentials: self.allow_credentials.unwrap_or(false),
            allow_methods,
            allow_headers: names(self.allow_headers, &format!("{field}.allowHeaders"), reader),
            expose_headers: names(self.expose_headers, &format!("{field}.exposeHeaders"), reader),
            max_age: reader.within(max_age, 1, u32::MAX, &format!("{field}.maxAge")),
        }
    }
}

fn alone(list: &[String], field: &str, reader: &mut Reader<'_>) {
    if list.len() > 1 && list.iter().any(|entry| entry == ANY) {
        let message = "has '*' beside other entries";
        reader.error(field, message, "leave the others out: '*' stands for all");
    }
}

fn names(raw: Option<Vec<String>>, field: &str, reader: &mut Reader<'_>) -> Vec<String> {
    let names = reader.list(raw, MAX_ENTRIES, field);
    for (index, name) in names.iter().enumerate() {
        // '*' is a token as well.
        reader.header_name(name, &format!("{field}[{index}]"));
    }
    names
}

/// The form of an origin (CORSOrigin). Which wildcards can be is for the data plane's own code to say.
fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else {
        return text == ANY;
    };
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let is_scheme_char = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    text.len() <= MAX_ORIGIN
        && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(is_scheme_char)
        && !host.is_empty()
        && !host.contains(['/', '?', '#'])
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}

//! CORS (Gateway API v1.5, HTTPCORSFilter).

use mesh_model::Cors;
use serde::Deserialize;

use crate::source::manifest::reader::Reader;
use crate::source::manifest::route::matches::METHODS;
use crate::source::manifest::text;

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
        let mut allow_origins = Vec::new();
        for (index, text) in origins.iter().enumerate() {
            allow_origins.push(origin(text, &format!("{origins_field}[{index}]"), reader));
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
            allow_origins,
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

/// An origin as browsers write it: in lower case, without the port that its scheme has anyway.
fn origin(text: &str, field: &str, reader: &mut Reader<'_>) -> String {
    if text == ANY {
        return text.to_owned();
    }
    let lower = text.to_ascii_lowercase();
    let Some((scheme, authority)) = lower.split_once("://").filter(|_| text.len() <= MAX_ORIGIN) else {
        let remedy = "write SCHEME://HOST or SCHEME://HOST:PORT, or '*' for all";
        reader.error(field, format!("'{text}' is no origin"), remedy);
        return lower;
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
    if host.is_empty() || host.contains([':', '/', '?', '#']) || !is_port {
        let remedy = "write SCHEME://HOST or SCHEME://HOST:PORT, without a path";
        reader.error(field, format!("'{text}' is no origin"), remedy);
    }
    let rest = host.strip_prefix("*.").unwrap_or(host);
    if !matches!(scheme, "http" | "https") {
        reader.unsupported(field, format!("the scheme of '{text}' is neither http nor https"));
    } else if host != ANY && !text::is_subdomain(rest) {
        let message =
            format!("the host of '{text}' is no name; a wildcard stands for whole labels at its beginning");
        reader.unsupported(field, message);
    }
    match (scheme, port) {
        ("http", Some("80")) | ("https", Some("443")) => format!("{scheme}://{host}"),
        _ => lower,
    }
}

//! Redirects and rewrites (Gateway API v1.5, HTTPRequestRedirectFilter and HTTPURLRewriteFilter).

use mesh_model::{PathEdit, Redirect, Rewrite};
use serde::Deserialize;

use crate::source::manifest::field::Port;
use crate::source::manifest::reader::Reader;
use crate::world::Filter;

/// Longest replacement of a path (HTTPPathModifier).
const MAX_PATH: usize = 1024;
/// The status of a redirect without a `statusCode`.
const DEFAULT_STATUS: u16 = 302;

/// Gateway API's HTTPRequestRedirectFilter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawRedirect {
    scheme: Option<String>,
    hostname: Option<String>,
    path: Option<RawPathEdit>,
    port: Option<Port>,
    status_code: Option<u16>,
}

/// Gateway API's HTTPURLRewriteFilter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRewrite {
    hostname: Option<String>,
    path: Option<RawPathEdit>,
}

/// Gateway API's HTTPPathModifier.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawPathEdit {
    r#type: String,
    replace_full_path: Option<String>,
    replace_prefix_match: Option<String>,
}

/// Whether the filter answers with a redirect.
pub(in super::super) fn is_redirect(filter: &Filter) -> bool {
    matches!(filter, Filter::Plain(mesh_model::Filter::Redirect(_)))
}

/// Whether the filter replaces the prefix that a match has found.
pub(in super::super) fn has_prefix_edit(filter: &Filter) -> bool {
    let path = match filter {
        Filter::Plain(mesh_model::Filter::Redirect(redirect)) => &redirect.path,
        Filter::Plain(mesh_model::Filter::Rewrite(rewrite)) => &rewrite.path,
        _ => return false,
    };
    matches!(path, Some(PathEdit::Prefix(_)))
}

fn hostname(name: Option<String>, field: &str, reader: &mut Reader<'_>) -> Option<String> {
    let name = name?;
    reader.hostname(&name, false, &format!("{field}.hostname"));
    Some(name)
}

// === impl RawRedirect ===

impl RawRedirect {
    pub(super) fn convert(self, field: &str, reader: &mut Reader<'_>) -> Redirect {
        Redirect {
            scheme: self.scheme,
            hostname: hostname(self.hostname, field, reader),
            path: self.path.and_then(|path| path.convert(field, reader)),
            port: self.port.map(|port| port.0),
            status: self.status_code.unwrap_or(DEFAULT_STATUS),
        }
    }
}

// === impl RawRewrite ===

impl RawRewrite {
    pub(super) fn convert(self, field: &str, reader: &mut Reader<'_>) -> Rewrite {
        Rewrite {
            hostname: hostname(self.hostname, field, reader),
            path: self.path.and_then(|path| path.convert(field, reader)),
        }
    }
}

// === impl RawPathEdit ===

impl RawPathEdit {
    fn convert(self, field: &str, reader: &mut Reader<'_>) -> Option<PathEdit> {
        let members = [
            (
                "ReplaceFullPath",
                "replaceFullPath",
                self.replace_full_path.is_some(),
            ),
            (
                "ReplacePrefixMatch",
                "replacePrefixMatch",
                self.replace_prefix_match.is_some(),
            ),
        ];
        for (name, member, is_there) in members {
            let is_meant = self.r#type == name;
            if is_meant != is_there {
                let message = if is_meant { "is missing" } else { "has no meaning" };
                let message = format!("{message} for the type {}", self.r#type);
                let remedy = "write the field that the type names, and no other one";
                reader.error(format!("{field}.path.{member}"), message, remedy);
            }
        }
        match self.r#type.as_str() {
            "ReplaceFullPath" => {
                let path = self.replace_full_path?;
                check_length(&path, &format!("{field}.path.replaceFullPath"), reader);
                Some(PathEdit::Full(path))
            }
            "ReplacePrefixMatch" => {
                let path = self.replace_prefix_match?;
                check_length(&path, &format!("{field}.path.replacePrefixMatch"), reader);
                Some(PathEdit::Prefix(path))
            }
            other => {
                let message = format!("'{other}' is neither ReplaceFullPath nor ReplacePrefixMatch");
                reader.unsupported(format!("{field}.path.type"), message);
                None
            }
        }
    }
}

fn check_length(path: &str, field: &str, reader: &mut Reader<'_>) {
    if path.len() > MAX_PATH {
        let message = format!("has {} bytes", path.len());
        reader.error(field, message, format!("write {MAX_PATH} bytes at most"));
    }
}

//! Filters (Gateway API v1.5, HTTPRouteFilter and GRPCRouteFilter).

mod cors;
mod external_auth;
mod headers;
mod location;

use mesh_http::filter::{Cors, Edits, FilterError, Redirect, Rewrite};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::RouteKind;
use super::reference::RawObject;
use crate::source::manifest::reader::Reader;
use crate::world::Filter;

pub(super) use self::location::{has_prefix_edit, is_redirect};

/// Most filters of a rule or backend (HTTPRouteRule).
const MAX_FILTERS: usize = 16;
/// Types of which there may be only one in a list. Gateway API allows several mirrors and extensions.
const SINGLE: [&str; 5] = [
    "RequestHeaderModifier",
    "ResponseHeaderModifier",
    "RequestRedirect",
    "URLRewrite",
    "CORS",
];

/// Gateway API's HTTPRouteFilter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawFilter {
    r#type: String,
    request_header_modifier: Option<headers::RawEdits>,
    response_header_modifier: Option<headers::RawEdits>,
    request_mirror: Option<RawMirror>,
    request_redirect: Option<location::RawRedirect>,
    url_rewrite: Option<location::RawRewrite>,
    cors: Option<cors::RawCors>,
    external_auth: Option<external_auth::RawExternalAuth>,
    extension_ref: Option<RawExtension>,
}

/// Gateway API's GRPCRouteFilter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawGrpcFilter {
    r#type: String,
    request_header_modifier: Option<headers::RawEdits>,
    response_header_modifier: Option<headers::RawEdits>,
    request_mirror: Option<RawMirror>,
    extension_ref: Option<RawExtension>,
}

/// Gateway API's HTTPRequestMirrorFilter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawMirror {
    backend_ref: RawObject,
    percent: Option<u32>,
    fraction: Option<RawFraction>,
}

/// Gateway API's Fraction.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawFraction {
    numerator: u32,
    denominator: Option<u32>,
}

/// Gateway API's LocalObjectReference.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "no extension is known here")]
struct RawExtension {
    group: Option<IgnoredAny>,
    kind: IgnoredAny,
    name: IgnoredAny,
}

/// The filters of a rule or backend, whose field is `field`.
pub(super) fn filters(
    raw: Option<Vec<RawFilter>>,
    field: &str,
    namespace: &str,
    kind: RouteKind,
    reader: &mut Reader<'_>,
) -> Vec<Filter> {
    let field = format!("{field}.filters");
    let raw = reader.list(raw, MAX_FILTERS, &field);
    for name in SINGLE {
        if raw.iter().filter(|filter| filter.r#type == name).count() > 1 {
            reader.incompatible(field.as_str(), format!("there is more than one {name}"));
        }
    }
    let has = |name: &str| raw.iter().any(|filter| filter.r#type == name);
    if has("RequestRedirect") && has("URLRewrite") {
        let message =
            "a RequestRedirect answers the request, so that there is nothing to do for the URLRewrite";
        reader.incompatible(field.as_str(), message);
    }
    let mut filters = Vec::new();
    for (index, filter) in raw.into_iter().enumerate() {
        filters.extend(filter.convert(&format!("{field}[{index}]"), namespace, kind, reader));
    }
    filters
}

/// Whether the data plane takes the filter: asked of its own code.
fn compile(filter: &mesh_model::Filter) -> Result<(), FilterError> {
    match filter {
        mesh_model::Filter::RequestHeaders(edits) | mesh_model::Filter::ResponseHeaders(edits) => {
            Edits::new(edits).map(drop)
        }
        mesh_model::Filter::Redirect(redirect) => Redirect::new(redirect).map(drop),
        mesh_model::Filter::Rewrite(rewrite) => Rewrite::new(rewrite).map(drop),
        mesh_model::Filter::Cors(cors) => Cors::new(cors).map(drop),
        mesh_model::Filter::Mirror(_) => Ok(()),
    }
}

// === impl RawFilter ===

impl RawFilter {
    fn convert(
        self,
        field: &str,
        namespace: &str,
        kind: RouteKind,
        reader: &mut Reader<'_>,
    ) -> Option<Filter> {
        if !self.check_union(field, reader) {
            return None;
        }
        let converted = match self.r#type.as_str() {
            "RequestHeaderModifier" => {
                let field = format!("{field}.requestHeaderModifier");
                let edits = self.request_header_modifier?.convert(&field, reader);
                mesh_model::Filter::RequestHeaders(edits)
            }
            "ResponseHeaderModifier" => {
                let field = format!("{field}.responseHeaderModifier");
                let edits = self.response_header_modifier?.convert(&field, reader);
                mesh_model::Filter::ResponseHeaders(edits)
            }
            "RequestMirror" => {
                let field = format!("{field}.requestMirror");
                return Some(self.request_mirror?.convert(&field, namespace, reader));
            }
            "RequestRedirect" if kind == RouteKind::Http => {
                let field = format!("{field}.requestRedirect");
                mesh_model::Filter::Redirect(self.request_redirect?.convert(&field, reader))
            }
            "URLRewrite" if kind == RouteKind::Http => {
                let field = format!("{field}.urlRewrite");
                mesh_model::Filter::Rewrite(self.url_rewrite?.convert(&field, reader))
            }
            "CORS" if kind == RouteKind::Http => {
                mesh_model::Filter::Cors(self.cors?.convert(&format!("{field}.cors"), reader))
            }
            "ExternalAuth" if kind == RouteKind::Http => {
                let message = "external authorization is not supported";
                reader.unsupported(format!("{field}.externalAuth"), message);
                return None;
            }
            "ExtensionRef" => {
                let message = "there are no extensions here";
                reader.unsupported(format!("{field}.extensionRef"), message);
                return None;
            }
            other => {
                let message = format!("'{other}' is no filter of {} that is known here", kind.label());
                reader.unsupported(format!("{field}.type"), message);
                return None;
            }
        };
        if let Err(error) = compile(&converted) {
            reader.unsupported(field, error.to_string());
        }
        Some(Filter::Plain(converted))
    }

    /// The field that the type names is there, and no other one (HTTPRouteFilter).
    fn check_union(&self, field: &str, reader: &mut Reader<'_>) -> bool {
        let members = [
            (
                "RequestHeaderModifier",
                "requestHeaderModifier",
                self.request_header_modifier.is_some(),
            ),
            (
                "ResponseHeaderModifier",
                "responseHeaderModifier",
                self.response_header_modifier.is_some(),
            ),
            ("RequestMirror", "requestMirror", self.request_mirror.is_some()),
            (
                "RequestRedirect",
                "requestRedirect",
                self.request_redirect.is_some(),
            ),
            ("URLRewrite", "urlRewrite", self.url_rewrite.is_some()),
            ("CORS", "cors", self.cors.is_some()),
            ("ExternalAuth", "externalAuth", self.external_auth.is_some()),
            ("ExtensionRef", "extensionRef", self.extension_ref.is_some()),
        ];
        let mut is_good = true;
        for (name, member, is_there) in members {
            let is_meant = self.r#type == name;
            if is_meant == is_there {
                continue;
            }
            is_good = false;
            let member = format!("{field}.{member}");
            if is_meant {
                reader.error(
                    member,
                    format!("is missing for a filter of type {name}"),
                    "add it",
                );
            } else {
                let message = format!("has no meaning for a filter of type {}", self.r#type);
                reader.error(member, message, "remove it, or make it a filter of its own");
            }
        }
        if let Some(auth) = &self.external_auth {
            auth.check(&format!("{field}.externalAuth"), reader);
        }
        is_good
    }
}

impl From<RawGrpcFilter> for RawFilter {
    fn from(filter: RawGrpcFilter) -> Self {
        Self {
            r#type: filter.r#type,
            request_header_modifier: filter.request_header_modifier,
            response_header_modifier: filter.response_header_modifier,
            request_mirror: filter.request_mirror,
            request_redirect: None,
            url_rewrite: None,
            cors: None,
            external_auth: None,
            extension_ref: filter.extension_ref,
        }
    }
}

// === impl RawMirror ===

impl RawMirror {
    fn convert(self, field: &str, namespace: &str, reader: &mut Reader<'_>) -> Filter {
        if self.percent.is_some() && self.fraction.is_some() {
            let message = "has a percentage and a fraction";
            reader.error(field, message, "leave one of them out");
        }
        let (numerator, denominator) = match (self.percent, self.fraction) {
            (_, Some(fraction)) => {
                let field = format!("{field}.fraction");
                let denominator = fraction.denominator.unwrap_or(100);
                let denominator = reader.within(denominator, 1, u32::MAX, &format!("{field}.denominator"));
                let numerator = fraction.numerator;
                (
                    reader.within(numerator, 0, denominator.max(1), &format!("{field}.numerator")),
                    denominator,
                )
            }
            (percent, None) => {
                let percent = reader.within(percent.unwrap_or(100), 0, 100, &format!("{field}.percent"));
                (percent, 100)
            }
        };
        Filter::Mirror {
            backend: self
                .backend_ref
                .convert(format!("{field}.backendRef"), namespace, reader),
            numerator,
            denominator,
        }
    }
}

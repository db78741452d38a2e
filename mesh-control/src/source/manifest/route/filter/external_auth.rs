//! External authorization (Gateway API v1.5, HTTPExternalAuthFilter): read to tell a mistyped field from one that is
//! not supported.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::RawObject;
use crate::source::manifest::reader::Reader;

/// Gateway API's HTTPExternalAuthFilter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "the filter is refused, and its fields never read")]
pub(super) struct RawExternalAuth {
    protocol: String,
    backend_ref: RawObject,
    grpc: Option<RawGrpc>,
    http: Option<RawHttp>,
    forward_body: Option<RawForwardBody>,
}

/// Gateway API's GRPCAuthConfig.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "the filter is refused, and its fields never read")]
struct RawGrpc {
    allowed_headers: Option<IgnoredAny>,
}

/// Gateway API's HTTPAuthConfig.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "the filter is refused, and its fields never read")]
struct RawHttp {
    path: Option<IgnoredAny>,
    allowed_headers: Option<IgnoredAny>,
    allowed_response_headers: Option<IgnoredAny>,
}

/// Gateway API's ForwardBodyConfig.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "the filter is refused, and its fields never read")]
struct RawForwardBody {
    max_size: Option<IgnoredAny>,
}

// === impl RawExternalAuth ===

impl RawExternalAuth {
    /// The configuration that the protocol names is there, and no other one.
    pub(super) fn check(&self, field: &str, reader: &mut Reader<'_>) {
        for (protocol, member, is_there) in [
            ("GRPC", "grpc", self.grpc.is_some()),
            ("HTTP", "http", self.http.is_some()),
        ] {
            if (self.protocol == protocol) != is_there {
                let message = format!("does not fit the protocol {}", self.protocol);
                let remedy = "write grpc for GRPC, http for HTTP, and not the other";
                reader.error(format!("{field}.{member}"), message, remedy);
            }
        }
    }
}

//! What a rule says of timeouts, retries and sessions (Gateway API v1.5, HTTPRouteTimeouts, HTTPRouteRetry and
//! SessionPersistence).

use std::fmt::Write as _;
use std::time::Duration;

use mesh_model::{CookieAffinity, ResourceName, Retry, RetryOn};
use serde::Deserialize;
use serde::de::IgnoredAny;
use sha2::{Digest as _, Sha256};

use crate::source::manifest::reader::Reader;
use crate::source::manifest::text;

/// Status codes that may be retried (HTTPRouteRetryStatusCode).
pub(in super::super) const RETRIABLE: std::ops::RangeInclusive<u16> = 400..=599;
/// Retries without `attempts`: Envoy's default, and Istio's is 2.
pub(in super::super) const DEFAULT_ATTEMPTS: u32 = 1;
/// Most retries of a request. The budget is what protects the backends; beyond this no client waits.
pub(in super::super) const MAX_ATTEMPTS: u32 = 100;
/// Least pause before a retry, and how many times as long the longest one is: Envoy's defaults.
pub(in super::super) const DEFAULT_BACKOFF: Duration = Duration::from_millis(25);
pub(in super::super) const BACKOFF_GROWTH: u32 = 10;
/// Longest name of a session (SessionPersistence).
const MAX_SESSION_NAME: usize = 128;

/// Gateway API's HTTPRouteTimeouts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawTimeouts {
    request: Option<String>,
    backend_request: Option<String>,
}

/// Gateway API's HTTPRouteRetry.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRetry {
    codes: Option<Vec<u16>>,
    attempts: Option<u32>,
    backoff: Option<String>,
}

/// Gateway API's SessionPersistence.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawSession {
    session_name: Option<String>,
    absolute_timeout: Option<String>,
    idle_timeout: Option<IgnoredAny>,
    r#type: Option<String>,
    cookie_config: Option<RawCookie>,
}

/// Gateway API's CookieConfig.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawCookie {
    lifetime_type: Option<String>,
}

/// Checks that one attempt does not get longer than the whole request.
pub(in super::super) fn check_order(
    request: Option<Duration>,
    attempt: Option<Duration>,
    field: &str,
    reader: &mut Reader<'_>,
) {
    if let (Some(request), Some(attempt)) = (request, attempt)
        && !request.is_zero()
        && attempt > request
    {
        let message = "is longer than the request timeout, which covers all attempts";
        reader.error(
            format!("{field}.backendRequest"),
            message,
            "shorten it, or lengthen the other",
        );
    }
}

// === impl RawTimeouts ===

impl RawTimeouts {
    /// The timeouts of a request and of an attempt; zero: off.
    pub(super) fn convert(
        &self,
        rule: &str,
        reader: &mut Reader<'_>,
    ) -> (Option<Duration>, Option<Duration>) {
        let field = format!("{rule}.timeouts");
        let request = reader.duration(self.request.as_deref(), &format!("{field}.request"));
        let attempt = reader.duration(
            self.backend_request.as_deref(),
            &format!("{field}.backendRequest"),
        );
        check_order(request, attempt, &field, reader);
        (request, attempt)
    }
}

// === impl RawRetry ===

impl RawRetry {
    /// The retries. Failures of connections are retried whenever there is a stanza (GEP-1731).
    pub(super) fn convert(self, rule: &str, reader: &mut Reader<'_>) -> Retry {
        let field = format!("{rule}.retry");
        let mut statuses = self.codes.unwrap_or_default();
        for (index, code) in statuses.iter().enumerate() {
            let field = format!("{field}.codes[{index}]");
            reader.within(*code, *RETRIABLE.start(), *RETRIABLE.end(), &field);
        }
        statuses.sort_unstable();
        statuses.dedup();
        let attempts = self.attempts.unwrap_or(DEFAULT_ATTEMPTS);
        let backoff = reader.positive(
            self.backoff.as_deref(),
            DEFAULT_BACKOFF,
            &format!("{field}.backoff"),
        );
        Retry {
            attempts: reader.within(attempts, 0, MAX_ATTEMPTS, &format!("{field}.attempts")),
            statuses,
            grpc_statuses: Vec::new(),
            on: vec![RetryOn::ConnectFailure, RetryOn::Reset, RetryOn::Timeout],
            non_idempotent: false,
            backoff,
            max_backoff: backoff * BACKOFF_GROWTH,
        }
    }
}

// === impl RawSession ===

impl RawSession {
    /// The cookie. Without a name it has one of its own for each rule: two rules with one cookie would take each
    /// other's for a stale one.
    pub(super) fn convert(
        self,
        route: &ResourceName,
        rule: &str,
        reader: &mut Reader<'_>,
    ) -> Option<CookieAffinity> {
        let field = format!("{rule}.sessionPersistence");
        let timeout = reader.duration(
            self.absolute_timeout.as_deref(),
            &format!("{field}.absoluteTimeout"),
        );
        if self.idle_timeout.is_some() {
            let message = "sessions do not end because they are idle";
            reader.unsupported(format!("{field}.idleTimeout"), message);
        }
        let name = self.session_name.filter(|name| !name.is_empty());
        if let Some(name) = &name {
            let is_name = text::is_token(name) && name.len() <= MAX_SESSION_NAME;
            let remedy = "use letters, digits and !#$%&'*+-.^_`|~, 128 at most";
            reader.form(
                is_name,
                name,
                &format!("{field}.sessionName"),
                "name of a cookie",
                remedy,
            );
        }
        let is_cookie = match self.r#type.as_deref() {
            None | Some("Cookie") => true,
            Some("Header") => {
                let message = "sessions are kept by cookie only";
                reader.unsupported(format!("{field}.type"), message);
                false
            }
            Some(other) => {
                let message = format!("'{other}' is neither Cookie nor Header");
                reader.unsupported(format!("{field}.type"), message);
                false
            }
        };
        if !is_cookie && self.cookie_config.is_some() {
            let message = "has no meaning without the type Cookie";
            reader.error(format!("{field}.cookieConfig"), message, "remove it");
        }
        let lifetime = self.cookie_config.and_then(|config| config.lifetime_type);
        let max_age = match lifetime.as_deref() {
            Some("Permanent") => {
                if timeout.is_none() {
                    let remedy = "write how long the cookie is kept";
                    let message = "is missing for a Permanent cookie";
                    reader.error(format!("{field}.absoluteTimeout"), message, remedy);
                }
                timeout.filter(|timeout| !timeout.is_zero())
            }
            None | Some("Session") => {
                if timeout.is_some() {
                    let message = "only cookies of lifetimeType Permanent end after a time";
                    reader.unsupported(format!("{field}.absoluteTimeout"), message);
                }
                None
            }
            Some(other) => {
                let message = format!("'{other}' is neither Session nor Permanent");
                reader.unsupported(format!("{field}.cookieConfig.lifetimeType"), message);
                None
            }
        };
        Some(CookieAffinity {
            name: name.unwrap_or_else(|| cookie_name(route, rule)),
            max_age,
            path: "/".to_owned(),
        })
        .filter(|_| is_cookie)
    }
}

fn cookie_name(route: &ResourceName, rule: &str) -> String {
    let digest = Sha256::digest(format!("{route}#{rule}"));
    let mut name = "nodemesh-".to_owned();
    for byte in digest.iter().take(4) {
        // Writing into a String does not fail.
        write!(name, "{byte:02x}").ok();
    }
    name
}

//! Which headers of some kinds a message has, found in one pass over their names: most messages have none of most kinds, and a
//! look-up for each of them costs more than the pass.

use http::HeaderMap;

/// Kinds of headers, and for those of one hop which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Present(u16);

impl Present {
    /// `connection`.
    pub(super) const CONNECTION: Self = Self(1);
    /// `transfer-encoding`.
    pub(super) const TRANSFER_ENCODING: Self = Self(1 << 1);
    /// `upgrade`.
    pub(super) const UPGRADE: Self = Self(1 << 2);
    /// `keep-alive`.
    pub(super) const KEEP_ALIVE: Self = Self(1 << 3);
    /// `proxy-connection`.
    pub(super) const PROXY_CONNECTION: Self = Self(1 << 4);
    /// `http2-settings`.
    pub(super) const HTTP2_SETTINGS: Self = Self(1 << 5);
    /// `te`.
    pub(super) const TE: Self = Self(1 << 6);
    /// Any of the above: what is for one hop.
    pub(super) const HOP_BY_HOP: Self = Self((1 << 7) - 1);
    /// `traceparent`.
    pub(super) const TRACEPARENT: Self = Self(1 << 7);
    /// `tracestate`.
    pub(super) const TRACESTATE: Self = Self(1 << 8);
    /// `b3`.
    pub(super) const B3: Self = Self(1 << 9);
    /// B3's form of many headers.
    pub(super) const B3_MULTI: Self = Self(1 << 10);

    /// Those of a message.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        headers.keys().fold(Self(0), |present, name| {
            Self(present.0 | Self::kind(name.as_str()).0)
        })
    }

    /// Whether there is one of this kind.
    pub(super) fn has(self, kind: Self) -> bool {
        self.0 & kind.0 != 0
    }

    /// The kind of a name, which is in lower case: by its length, so that most are compared with none.
    fn kind(name: &str) -> Self {
        match name.len() {
            2 if name == "te" => Self::TE,
            2 if name == "b3" => Self::B3,
            7 if name == "upgrade" => Self::UPGRADE,
            10 if name == "connection" => Self::CONNECTION,
            10 if name == "keep-alive" => Self::KEEP_ALIVE,
            10 if name == "tracestate" => Self::TRACESTATE,
            11 if name == "traceparent" => Self::TRACEPARENT,
            14 if name == "http2-settings" => Self::HTTP2_SETTINGS,
            16 if name == "proxy-connection" => Self::PROXY_CONNECTION,
            17 if name == "transfer-encoding" => Self::TRANSFER_ENCODING,
            10 | 11 | 12 | 17 if name.starts_with("x-b3-") => Self::B3_MULTI,
            _ => Self(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::super::trace::B3_MULTI;
    use super::super::{HOP_BY_HOP, TE};
    use super::*;

    fn of(names: &[&HeaderName]) -> Present {
        let value = HeaderValue::from_static("x");
        let headers = names.iter().map(|&name| (name.clone(), value.clone()));
        Present::of(&headers.collect())
    }

    #[test]
    fn every_header_of_a_kind_is_found() {
        for (name, kind) in &HOP_BY_HOP {
            assert_eq!(of(&[name]), *kind, "{name}");
            assert!(kind.has(Present::HOP_BY_HOP));
        }
        assert_eq!(of(&[&TE]), Present::TE);
        for name in &B3_MULTI {
            assert_eq!(of(&[name]), Present::B3_MULTI, "{name}");
        }
        for (name, kind) in [
            ("b3", Present::B3),
            ("traceparent", Present::TRACEPARENT),
            ("tracestate", Present::TRACESTATE),
        ] {
            assert_eq!(of(&[&HeaderName::from_static(name)]), kind, "{name}");
        }
    }

    #[test]
    fn others_are_of_no_kind() {
        for name in [
            "host",
            "x-b",
            "accept",
            "x-request-id",
            "accept-encoding",
            "x-forwarded-proto",
        ] {
            assert_eq!(of(&[&HeaderName::from_static(name)]), Present(0), "{name}");
        }
        let all = of(&[&TE, &HeaderName::from_static("b3")]);
        assert!(all.has(Present::B3) && all.has(Present::HOP_BY_HOP) && !all.has(Present::TRACESTATE));
    }
}

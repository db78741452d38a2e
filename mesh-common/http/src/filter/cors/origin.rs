//! Origins (RFC 6454 §6), and which of them may call.

use crate::filter::{FilterError, invalid};

/// An origin that may call.
#[derive(Debug, Clone)]
pub(super) enum Allowed {
    All,
    /// Such as `null`, or with a scheme that has hosts of its own rules.
    Text(Box<str>),
    Host {
        scheme: Box<str>,
        host: Host,
        port: Option<u16>,
    },
}

/// Hosts that may call.
#[derive(Debug, Clone)]
pub(super) enum Host {
    All,
    Exact(Box<str>),
    /// Those that end in this, which begins with a dot.
    Below(Box<str>),
}

// === impl Allowed ===

impl Allowed {
    pub(super) fn new(text: &str) -> Result<Self, FilterError> {
        if text == "*" {
            return Ok(Self::All);
        }
        if text == "null" {
            return Ok(Self::Text(text.into()));
        }
        let (scheme, host, port) =
            split(text).ok_or_else(|| invalid("origin", text, "is not of the form SCHEME://HOST[:PORT]"))?;
        let host = match host {
            "*" => Host::All,
            host => match host.strip_prefix('*') {
                Some(below) if below.starts_with('.') && below.len() > 1 && !below.contains('*') => {
                    Host::Below(below.into())
                }
                None if !host.contains('*') => Host::Exact(host.into()),
                _ => {
                    return Err(invalid(
                        "origin",
                        text,
                        "has a '*' that does not stand for the leading labels of the host",
                    ));
                }
            },
        };
        Ok(Self::Host {
            scheme: scheme.into(),
            host,
            port,
        })
    }

    pub(super) fn allows(&self, origin: &str) -> bool {
        match self {
            Self::All => true,
            Self::Text(text) => **text == *origin,
            Self::Host { scheme, host, port } => {
                split(origin).is_some_and(|(its_scheme, its_host, its_port)| {
                    scheme.eq_ignore_ascii_case(its_scheme) && *port == its_port && host.allows(its_host)
                })
            }
        }
    }
}

// === impl Host ===

impl Host {
    fn allows(&self, host: &str) -> bool {
        match self {
            Self::All => true,
            Self::Exact(exact) => exact.eq_ignore_ascii_case(host),
            Self::Below(below) => host.len().checked_sub(below.len()).is_some_and(|start| {
                start > 0
                    && host
                        .get(start..)
                        .is_some_and(|end| below.eq_ignore_ascii_case(end))
            }),
        }
    }
}

/// Scheme, host, and port unless it is the scheme's own.
fn split(origin: &str) -> Option<(&str, &str, Option<u16>)> {
    let (scheme, rest) = origin.split_once("://")?;
    let is_address_end = |text: &str| text.ends_with(']');
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !is_address_end(rest) => (host, Some(port.parse().ok()?)),
        _ => (rest, None),
    };
    let is_host = |byte: u8| byte.is_ascii_graphic() && !b"/?#@\\".contains(&byte);
    let is_name =
        !host.is_empty() && host.bytes().all(is_host) && (!host.contains(':') || is_address_end(host));
    let is_scheme = !scheme.is_empty()
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let well_known = match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    (is_scheme && is_name).then_some((scheme, host, port.filter(|port| Some(*port) != well_known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_compared_by_scheme_host_and_port() {
        for (allowed, origin, expected) in [
            ("*", "https://any.test", true),
            ("*", "null", true),
            ("null", "null", true),
            ("https://a.test", "https://a.test", true),
            ("https://a.test", "https://A.TEST", true),
            ("https://a.test:443", "https://a.test", true),
            ("http://a.test", "http://a.test:80", true),
            ("https://a.test", "http://a.test", false),
            ("https://a.test", "https://a.test:8443", false),
            ("https://a.test:8443", "https://a.test:8443", true),
            ("https://a.test", "https://a.test.evil.test", false),
            ("https://a.test", "https://b.a.test", false),
            ("https://a.test", "null", false),
            ("https://*.a.test", "https://b.a.test", true),
            ("https://*.a.test", "https://c.b.A.test", true),
            ("https://*.a.test", "https://a.test", false),
            ("https://*.a.test", "https://.a.test", false),
            ("https://*.a.test", "https://evila.test", false),
            ("https://*.a.test", "https://b.a.test:8443", false),
            ("https://*.a.test", "https://evil.test/.a.test", false),
            ("https://*.a.test", "https://evil.test#.a.test", false),
            ("https://*.a.test", "https://user@b.a.test", false),
            ("https://*", "https://any.test", true),
            ("https://*", "http://any.test", false),
            ("http://[::1]:8080", "http://[::1]:8080", true),
            ("http://[::1]", "http://[::1]", true),
            ("http://[::1]", "http://[::1]:8080", false),
        ] {
            assert_eq!(
                Allowed::new(allowed).unwrap().allows(origin),
                expected,
                "{allowed} {origin}"
            );
        }
    }

    #[test]
    fn refuses_what_is_no_origin() {
        for bad in [
            "",
            "a.test",
            "https://",
            "://a.test",
            "https://a.test/",
            "https://a.test:x",
            "https://a.*.test",
            "https://*a.test",
            "https://*.",
            "https://*.*.test",
            "https://a b",
        ] {
            assert!(Allowed::new(bad).is_err(), "{bad}");
        }
    }
}

//! Redirects (HTTPRequestRedirectFilter).

use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, StatusCode};

use super::path::Change;
use super::{FilterError, hostname, invalid};
use crate::headers;

/// A redirect, compiled.
#[derive(Debug, Clone)]
pub struct Redirect {
    scheme: Option<&'static str>,
    host: Option<Authority>,
    path: Option<Change>,
    port: Option<u16>,
    status: StatusCode,
}

// === impl Redirect ===

impl Redirect {
    /// Compiles a redirect.
    pub fn new(redirect: &mesh_model::Redirect) -> Result<Self, FilterError> {
        let status = redirect.status;
        if !matches!(status, 301..=303 | 307 | 308) {
            return Err(invalid(
                "status",
                &status.to_string(),
                "is not 301, 302, 303, 307 or 308",
            ));
        }
        let scheme = match redirect.scheme.as_deref() {
            None => None,
            Some("http") => Some("http"),
            Some("https") => Some("https"),
            Some(other) => return Err(invalid("scheme", other, "is not http or https")),
        };
        if redirect.port == Some(0) {
            return Err(invalid("port", "0", "is no port"));
        }
        Ok(Self {
            scheme,
            host: redirect.hostname.as_deref().map(hostname).transpose()?,
            path: redirect.path.as_ref().map(Change::new).transpose()?,
            port: redirect.port,
            status: StatusCode::from_u16(status)
                .map_err(|_| invalid("status", &status.to_string(), "is no status"))?,
        })
    }

    /// Status and Location, which is always absolute, and may be the request's own URL. `prefix` is what
    /// [`crate::table::Matched`] has; `asked_port` the port that the client connected to.
    pub fn location(
        &self,
        request: &Parts,
        prefix: Option<&str>,
        asked_port: u16,
    ) -> Result<(StatusCode, HeaderValue), FilterError> {
        let scheme = self.scheme.or_else(|| request.uri.scheme_str()).unwrap_or("http");
        let host = match &self.host {
            Some(host) => host.as_str(),
            None => headers::host(request).ok_or(FilterError::NoHost)?,
        };
        let well_known = match scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        // A scheme without a port means the scheme's own port.
        let port = match (self.port, self.scheme) {
            (Some(port), _) => Some(port),
            (None, Some(_)) => well_known,
            (None, None) => Some(asked_port),
        };
        let port = port.filter(|port| Some(*port) != well_known);
        let target = match &self.path {
            Some(change) => change.target(&request.uri, prefix)?,
            None => match request.uri.path_and_query() {
                Some(target) if target.as_str().starts_with('/') => target.as_str().to_owned(),
                _ => "/".to_owned(),
            },
        };
        let location = match port {
            Some(port) => format!("{scheme}://{host}:{port}{target}"),
            None => format!("{scheme}://{host}{target}"),
        };
        let location = HeaderValue::try_from(ascii(location)).map_err(|_| FilterError::NoHost)?;
        Ok((self.status, location))
    }
}

/// Escapes what is outside of ASCII: servers take it in a query, but no URL has it.
fn ascii(url: String) -> String {
    if url.is_ascii() {
        return url;
    }
    url.bytes()
        .map(|byte| match byte {
            0..0x80 => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use mesh_model::PathEdit;

    fn redirect() -> mesh_model::Redirect {
        mesh_model::Redirect {
            scheme: None,
            hostname: None,
            path: None,
            port: None,
            status: 302,
        }
    }

    fn location(redirect: &mesh_model::Redirect, target: &str, host: &str, asked_port: u16) -> String {
        let request = Request::builder()
            .uri(target)
            .header("host", host)
            .body(())
            .unwrap();
        let (status, location) = Redirect::new(redirect)
            .unwrap()
            .location(&request.into_parts().0, Some("/a"), asked_port)
            .unwrap();
        assert_eq!(status.as_u16(), redirect.status);
        location.to_str().unwrap().to_owned()
    }

    #[test]
    fn the_port_follows_from_scheme_and_destination() {
        for (scheme, port, asked, expected) in [
            (None, None, 80, "http://h.test/a"),
            (None, None, 8080, "http://h.test:8080/a"),
            (None, None, 443, "http://h.test:443/a"),
            (Some("https"), None, 8080, "https://h.test/a"),
            (Some("http"), None, 8080, "http://h.test/a"),
            (Some("https"), Some(443), 80, "https://h.test/a"),
            (Some("https"), Some(80), 80, "https://h.test:80/a"),
            (Some("http"), Some(443), 80, "http://h.test:443/a"),
            (None, Some(80), 8080, "http://h.test/a"),
            (None, Some(8083), 80, "http://h.test:8083/a"),
        ] {
            let redirect = mesh_model::Redirect {
                scheme: scheme.map(str::to_owned),
                port,
                ..redirect()
            };
            assert_eq!(
                location(&redirect, "/a", "h.test", asked),
                expected,
                "{scheme:?} {port:?} {asked}"
            );
        }
    }

    #[test]
    fn what_the_filter_does_not_name_is_the_request_s() {
        assert_eq!(
            location(&redirect(), "/a/b?c=d", "h.test:8080", 80),
            "http://h.test/a/b?c=d"
        );
        assert_eq!(
            location(&redirect(), "/", "[fd00::1]:99", 99),
            "http://[fd00::1]:99/"
        );
        assert_eq!(
            location(&redirect(), "https://h.test/a", "x.test", 443),
            "https://h.test/a"
        );
        assert_eq!(location(&redirect(), "*", "h.test", 80), "http://h.test/");
        assert_eq!(
            location(&redirect(), "/a?caf\u{e9}", "h.test", 80),
            "http://h.test/a?caf%C3%A9"
        );
        let moved = mesh_model::Redirect {
            hostname: Some("example.org".to_owned()),
            path: Some(PathEdit::Prefix("/new".to_owned())),
            status: 308,
            ..redirect()
        };
        assert_eq!(
            location(&moved, "/a/b?c", "h.test", 80),
            "http://example.org/new/b?c"
        );
        let whole = mesh_model::Redirect {
            path: Some(PathEdit::Full("/new".to_owned())),
            ..redirect()
        };
        assert_eq!(location(&whole, "/a/b?c", "h.test", 80), "http://h.test/new?c");
    }

    #[test]
    fn a_redirect_to_itself_is_one() {
        for status in [301, 302, 303, 307, 308] {
            let redirect = mesh_model::Redirect { status, ..redirect() };
            assert_eq!(
                location(&redirect, "/same?x", "h.test", 80),
                "http://h.test/same?x"
            );
        }
    }

    #[test]
    fn a_request_without_a_usable_host_is_not_redirected() {
        let compiled = Redirect::new(&redirect()).unwrap();
        for host in [None, Some("user@evil.test"), Some("a b"), Some("")] {
            let mut request = Request::builder().uri("/");
            if let Some(host) = host {
                request = request.header("host", host);
            }
            let request = request.body(()).unwrap().into_parts().0;
            assert_eq!(
                compiled.location(&request, None, 80),
                Err(FilterError::NoHost),
                "{host:?}"
            );
        }
    }

    #[test]
    fn refuses_fields_that_cannot_be() {
        let named = |text: &str| Some(text.to_owned());
        for (bad, field) in [
            (
                mesh_model::Redirect {
                    status: 304,
                    ..redirect()
                },
                "status",
            ),
            (
                mesh_model::Redirect {
                    status: 200,
                    ..redirect()
                },
                "status",
            ),
            (
                mesh_model::Redirect {
                    scheme: named("ftp"),
                    ..redirect()
                },
                "scheme",
            ),
            (
                mesh_model::Redirect {
                    hostname: named("a.test:80"),
                    ..redirect()
                },
                "hostname",
            ),
            (
                mesh_model::Redirect {
                    hostname: named("u@a.test"),
                    ..redirect()
                },
                "hostname",
            ),
            (
                mesh_model::Redirect {
                    hostname: named("a/b"),
                    ..redirect()
                },
                "hostname",
            ),
            (
                mesh_model::Redirect {
                    hostname: named(""),
                    ..redirect()
                },
                "hostname",
            ),
            (
                mesh_model::Redirect {
                    port: Some(0),
                    ..redirect()
                },
                "port",
            ),
            (
                mesh_model::Redirect {
                    path: Some(PathEdit::Full("x".to_owned())),
                    ..redirect()
                },
                "path",
            ),
        ] {
            let error = Redirect::new(&bad).unwrap_err().to_string();
            assert!(error.starts_with(&format!("the {field} ")), "{error}");
        }
    }
}

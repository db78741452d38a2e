//! Rewrites of host and path (HTTPURLRewriteFilter): what the backend sees instead of what the client wrote.

use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Uri};

use super::path::Change;
use super::{FilterError, hostname, invalid};
use crate::path;

/// A change of host and path, compiled.
#[derive(Debug, Clone)]
pub struct Rewrite {
    host: Option<(Authority, HeaderValue)>,
    path: Option<Change>,
}

// === impl Rewrite ===

impl Rewrite {
    /// Compiles a change.
    pub fn new(rewrite: &mesh_model::Rewrite) -> Result<Self, FilterError> {
        let host = rewrite.hostname.as_deref().map(|name| {
            let authority = hostname(name)?;
            let value =
                HeaderValue::from_str(name).map_err(|_| invalid("hostname", name, "is no host's name"))?;
            Ok((authority, value))
        });
        Ok(Self {
            host: host.transpose()?,
            path: rewrite.path.as_ref().map(Change::new).transpose()?,
        })
    }

    /// Changes host and path of a request; the query stays. `prefix` is what [`crate::table::Matched`] has.
    pub fn apply(&self, request: &mut Parts, prefix: Option<&str>) -> Result<(), FilterError> {
        if let Some(change) = &self.path {
            let target = change.target(&request.uri, prefix)?;
            path::replace(&mut request.uri, target).map_err(|_| FilterError::TooLong)?;
        }
        if let Some((authority, value)) = &self.host {
            let has_authority = request.uri.authority().is_some();
            if has_authority {
                let mut parts = std::mem::take(&mut request.uri).into_parts();
                parts.authority = Some(authority.clone());
                request.uri = Uri::from_parts(parts).map_err(|_| FilterError::TooLong)?;
            }
            if !has_authority || request.headers.contains_key(HOST) {
                request.headers.insert(HOST, value.clone());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use mesh_model::PathEdit;

    fn apply(rewrite: &mesh_model::Rewrite, target: &str, host: Option<&str>) -> (String, Option<String>) {
        let mut request = Request::builder().uri(target);
        if let Some(host) = host {
            request = request.header(HOST, host);
        }
        let mut request = request.body(()).unwrap().into_parts().0;
        Rewrite::new(rewrite)
            .unwrap()
            .apply(&mut request, Some("/prefix"))
            .unwrap();
        let host = request.headers.get(HOST);
        (
            request.uri.to_string(),
            host.map(|host| host.to_str().unwrap().to_owned()),
        )
    }

    #[test]
    fn host_and_path_become_others_and_the_query_stays() {
        let rewrite = mesh_model::Rewrite {
            hostname: Some("one.example.org".to_owned()),
            path: Some(PathEdit::Prefix("/one".to_owned())),
        };
        let one = Some("one.example.org".to_owned());
        assert_eq!(
            apply(&rewrite, "/prefix/two?x=/prefix", Some("h.test:80")),
            ("/one/two?x=/prefix".to_owned(), one.clone())
        );
        assert_eq!(apply(&rewrite, "/prefix", None), ("/one".to_owned(), one.clone()));
        // HTTP/2, without and with Host; HTTP/1's absolute form.
        assert_eq!(
            apply(&rewrite, "http://h.test:80/prefix/", None),
            ("http://one.example.org/one/".to_owned(), None)
        );
        assert_eq!(
            apply(&rewrite, "http://h.test/prefix/", Some("h.test")),
            ("http://one.example.org/one/".to_owned(), one)
        );
    }

    #[test]
    fn what_is_not_named_stays() {
        let path_only = mesh_model::Rewrite {
            hostname: None,
            path: Some(PathEdit::Full("/all".to_owned())),
        };
        assert_eq!(
            apply(&path_only, "/prefix?a", Some("h.test")),
            ("/all?a".to_owned(), Some("h.test".to_owned()))
        );
        let host_only = mesh_model::Rewrite {
            hostname: Some("o.test".to_owned()),
            path: None,
        };
        assert_eq!(
            apply(&host_only, "*", Some("h.test")),
            ("*".to_owned(), Some("o.test".to_owned()))
        );
    }

    #[test]
    fn refuses_a_host_that_is_none() {
        let rewrite = mesh_model::Rewrite {
            hostname: Some("a b".to_owned()),
            path: None,
        };
        let error = Rewrite::new(&rewrite).unwrap_err().to_string();
        assert_eq!(error, "the hostname 'a b' is no host's name");
    }
}

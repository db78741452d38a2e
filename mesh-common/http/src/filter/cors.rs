//! Calls from browsers: the CORS protocol (Fetch standard §3.2), as HTTPCORSFilter has it.
//!
//! The filter has the last word: what a backend says about CORS by itself is replaced. An origin that may not call gets no
//! header, and the browser keeps the answer from the script. `*` as a value is answered only where the standard gives it
//! its meaning; everything else is answered with the request's own values.

mod origin;

#[cfg(test)]
mod tests;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use super::{FilterError, invalid};
use crate::headers;
use origin::Allowed;

/// What an answer to a preflight request depends on.
const PREFLIGHT_VARY: HeaderValue =
    HeaderValue::from_static("origin, access-control-request-method, access-control-request-headers");
const TRUE: HeaderValue = HeaderValue::from_static("true");
const ANY: HeaderValue = HeaderValue::from_static("*");

/// Who may call from a browser, compiled.
#[derive(Debug, Clone)]
pub struct Cors {
    origins: Box<[Allowed]>,
    credentials: bool,
    methods: List,
    headers: List,
    exposed: List,
    max_age: HeaderValue,
}

/// A list of names.
#[derive(Debug, Clone)]
enum List {
    Empty,
    All,
    Some(HeaderValue),
}

// === impl Cors ===

impl Cors {
    /// Compiles the filter.
    pub fn new(cors: &mesh_model::Cors) -> Result<Self, FilterError> {
        let origins = cors.allow_origins.iter().map(|origin| Allowed::new(origin));
        Ok(Self {
            origins: origins.collect::<Result<_, _>>()?,
            credentials: cors.allow_credentials,
            methods: List::new("method", &cors.allow_methods, |name| {
                Method::from_bytes(name.as_bytes()).is_ok()
            })?,
            headers: List::new("header", &cors.allow_headers, is_header)?,
            exposed: List::new("header", &cors.expose_headers, is_header)?,
            max_age: HeaderValue::from(cors.max_age),
        })
    }

    /// The answer to a preflight request, 204, or 403 for an origin that may not call; `None` for every other request,
    /// which goes to the backend.
    pub fn preflight(&self, request: &Parts) -> Option<Response<()>> {
        let origin = request.headers.get(ORIGIN)?;
        let method = request.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
        if request.method != Method::OPTIONS {
            return None;
        }
        let mut response = Response::new(());
        let is_allowed = self.allows(origin);
        *response.status_mut() = if is_allowed {
            StatusCode::NO_CONTENT
        } else {
            StatusCode::FORBIDDEN
        };
        let answer = response.headers_mut();
        answer.insert(VARY, PREFLIGHT_VARY);
        if is_allowed {
            self.put_origin(origin, answer);
            let wanted = request.headers.get(ACCESS_CONTROL_REQUEST_HEADERS);
            put(
                answer,
                ACCESS_CONTROL_ALLOW_METHODS,
                self.methods.or_asked(Some(method)),
            );
            put(
                answer,
                ACCESS_CONTROL_ALLOW_HEADERS,
                self.headers.or_asked(wanted),
            );
            answer.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        }
        Some(response)
    }

    /// Puts CORS headers into the backend's answer, and takes out the backend's own. `request_origin` is the request's
    /// Origin.
    pub fn answer(&self, request_origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        for name in [
            ACCESS_CONTROL_ALLOW_ORIGIN,
            ACCESS_CONTROL_ALLOW_CREDENTIALS,
            ACCESS_CONTROL_ALLOW_METHODS,
            ACCESS_CONTROL_ALLOW_HEADERS,
            ACCESS_CONTROL_EXPOSE_HEADERS,
            ACCESS_CONTROL_MAX_AGE,
        ] {
            headers.remove(name);
        }
        if let Some(origin) = request_origin.filter(|origin| self.allows(origin)) {
            let exposed = match &self.exposed {
                List::Empty => None,
                // With credentials `*` is a name like others, so the names are told.
                List::All if self.credentials => names(headers),
                List::All => Some(ANY),
                List::Some(names) => Some(names.clone()),
            };
            self.put_origin(origin, headers);
            put(headers, ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
        // Another origin would get another answer: no cache may mix them up.
        let varies = headers::has_token(headers, &VARY, "origin") || headers::has_token(headers, &VARY, "*");
        if !varies {
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        origin
            .to_str()
            .is_ok_and(|origin| self.origins.iter().any(|allowed| allowed.allows(origin)))
    }

    fn put_origin(&self, origin: &HeaderValue, headers: &mut HeaderMap) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value);
    }
}

/// The names of all headers, as a list; `None` if there are none.
fn names(headers: &HeaderMap) -> Option<HeaderValue> {
    let names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    if names.is_empty() {
        return None;
    }
    HeaderValue::try_from(names.join(", ")).ok()
}

fn is_header(name: &str) -> bool {
    HeaderName::from_bytes(name.as_bytes()).is_ok()
}

// === impl List ===

impl List {
    fn new(field: &'static str, names: &[String], is_name: fn(&str) -> bool) -> Result<Self, FilterError> {
        if names.iter().any(|name| name == "*") {
            return Ok(Self::All);
        }
        if let Some(bad) = names.iter().find(|name| !is_name(name)) {
            return Err(invalid(field, bad, format!("is no {field}'s name")));
        }
        match HeaderValue::try_from(names.join(", ")) {
            Ok(joined) if !joined.is_empty() => Ok(Self::Some(joined)),
            _ => Ok(Self::Empty),
        }
    }

    /// The list; where it is all, what was asked for.
    fn or_asked(&self, asked: Option<&HeaderValue>) -> Option<HeaderValue> {
        match self {
            Self::Empty => None,
            Self::All => asked.cloned(),
            Self::Some(names) => Some(names.clone()),
        }
    }
}

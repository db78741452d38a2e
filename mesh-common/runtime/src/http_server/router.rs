//! Which handler answers which method and path, and the values that handlers take and give.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use http_body_util::Full;
use serde::Serialize;

/// What a handler gets to see of a request.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The part of the target after `?`, not decoded.
    pub query: Option<String>,
    /// The body, 64 KiB at most.
    pub body: Bytes,
}

/// What a handler answers.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The content type.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
    allow: Option<HeaderValue>,
}

/// Exact paths, each with a handler for a method.
#[derive(Default)]
pub struct Router {
    paths: BTreeMap<&'static str, Vec<(Method, Handler)>>,
}

pub(super) type Handler =
    Box<dyn Fn(Request) -> Pin<Box<dyn Future<Output = Response> + Send>> + Send + Sync>;

impl Request {
    /// The value of `key` in a query such as `workload=shop/web-1&all`: empty for a key without a value. Nothing is
    /// decoded: the names that are asked for need no escaping.
    pub fn query_value(&self, key: &str) -> Option<&str> {
        self.query.as_deref()?.split('&').find_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name == key).then_some(value)
        })
    }
}

impl Response {
    /// Any answer.
    pub fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type,
            body: body.into(),
            allow: None,
        }
    }

    /// A text for people.
    pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body)
    }

    /// 200 with `value` as JSON, or 500 when it cannot be written as JSON.
    pub fn json(value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::new(StatusCode::OK, "application/json", body),
            Err(error) => Self::text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("the answer is no JSON: {error}\n"),
            ),
        }
    }

    pub(super) fn into_http(self) -> http::Response<Full<Bytes>> {
        let mut response = http::Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, allow);
        }
        response
    }
}

impl Router {
    /// No paths yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers `GET path`, and HEAD with it. A handler that needs no await returns `std::future::ready(…)`.
    #[must_use]
    pub fn get<F>(self, path: &'static str, handler: impl Fn(Request) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response> + Send + 'static,
    {
        self.route(Method::GET, path, handler)
    }

    /// Answers `POST path`.
    #[must_use]
    pub fn post<F>(self, path: &'static str, handler: impl Fn(Request) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response> + Send + 'static,
    {
        self.route(Method::POST, path, handler)
    }

    fn route<F>(
        mut self,
        method: Method,
        path: &'static str,
        handler: impl Fn(Request) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response> + Send + 'static,
    {
        let handler: Handler = Box::new(move |request| Box::pin(handler(request)));
        let handlers = self.paths.entry(path).or_default();
        handlers.retain(|(existing, _)| *existing != method);
        handlers.push((method, handler));
        self
    }

    /// The handler, or the answer that says what there is instead.
    pub(super) fn find(&self, method: &Method, path: &str) -> Result<&Handler, Response> {
        let Some(handlers) = self.paths.get(path) else {
            let paths: Vec<&str> = self.paths.keys().copied().collect();
            let text = format!("no such path; there is {}\n", paths.join(", "));
            return Err(Response::text(StatusCode::NOT_FOUND, text));
        };
        // hyper leaves the body out of an answer to HEAD.
        let method = if method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        handlers
            .iter()
            .find(|(accepted, _)| accepted == method)
            .map(|(_, handler)| handler)
            .ok_or_else(|| {
                let methods: Vec<&str> = handlers.iter().map(|(method, _)| method.as_str()).collect();
                let allow = methods.join(", ");
                let mut refusal = Response::text(
                    StatusCode::METHOD_NOT_ALLOWED,
                    format!("this path takes {allow}\n"),
                );
                refusal.allow = HeaderValue::from_str(&allow).ok();
                refusal
            })
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.paths.keys()).finish()
    }
}

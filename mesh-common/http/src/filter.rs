//! What a route's filters do to a request and its answer.

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use mesh_model::HeaderEdits;

/// A filter that cannot be compiled, or cannot be applied to a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The request does not say which host it is for.
    #[error("the request names no host")]
    NoHost,
}

/// Changes to headers, compiled.
#[derive(Debug, Clone)]
pub struct Edits(HeaderEdits);

/// A redirect, compiled.
#[derive(Debug, Clone)]
pub struct Redirect(mesh_model::Redirect);

/// A change of host and path, compiled.
#[derive(Debug, Clone)]
pub struct Rewrite(mesh_model::Rewrite);

/// Who may call from a browser, compiled.
#[derive(Debug, Clone)]
pub struct Cors(mesh_model::Cors);

impl Edits {
    /// Compiles changes.
    pub fn new(edits: &HeaderEdits) -> Result<Self, FilterError> {
        Ok(Self(edits.clone()))
    }

    /// Applies them: set, add, remove.
    pub fn apply(&self, headers: &mut HeaderMap) {
        let _ = (headers, &self.0);
    }
}

impl Redirect {
    /// Compiles a redirect.
    pub fn new(redirect: &mesh_model::Redirect) -> Result<Self, FilterError> {
        Ok(Self(redirect.clone()))
    }

    /// Status and Location, always absolute. `prefix` is what [`crate::table::Matched`] has; `asked_port` the port that the client
    /// connected to.
    pub fn location(
        &self,
        request: &Parts,
        prefix: Option<&str>,
        asked_port: u16,
    ) -> Result<(StatusCode, HeaderValue), FilterError> {
        let _ = (request, prefix, asked_port, &self.0);
        Err(FilterError::NoHost)
    }
}

impl Rewrite {
    /// Compiles a change.
    pub fn new(rewrite: &mesh_model::Rewrite) -> Result<Self, FilterError> {
        Ok(Self(rewrite.clone()))
    }

    /// Changes host and path of a request; the query stays.
    pub fn apply(&self, request: &mut Parts, prefix: Option<&str>) -> Result<(), FilterError> {
        let _ = (request, prefix, &self.0);
        Ok(())
    }
}

impl Cors {
    /// Compiles.
    pub fn new(cors: &mesh_model::Cors) -> Result<Self, FilterError> {
        Ok(Self(cors.clone()))
    }

    /// The answer to a preflight request; `None` for every other request, which goes to the backend.
    pub fn preflight(&self, request: &Parts) -> Option<Response<()>> {
        let _ = (request, &self.0);
        None
    }

    /// Puts CORS headers into the backend's answer. `request_origin` is the request's Origin.
    pub fn answer(&self, request_origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        let _ = (request_origin, headers, &self.0);
    }
}

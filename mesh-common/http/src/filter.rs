//! What a route's filters do to a request and its answer.
//!
//! Each filter is checked and compiled once. What cannot be is an error that names the field; the control plane reports
//! the same, so a node never sees one.

mod cors;
mod edits;
mod path;
mod redirect;
mod rewrite;

use http::uri::Authority;

use crate::headers;

pub use cors::Cors;
pub use edits::Edits;
pub use redirect::Redirect;
pub use rewrite::Rewrite;

/// A filter that cannot be compiled, or cannot be applied to a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Of the filter: a field that cannot be as it is.
    #[error("the {field} '{value}' {reason}")]
    Field {
        /// The field.
        field: &'static str,
        /// What it says.
        value: String,
        /// Why that cannot be.
        reason: String,
    },
    /// The request names no host, or none that a URL can have.
    #[error("the request names no host that the redirect could lead to")]
    NoHost,
    /// A prefix is to be replaced, but it was no prefix that the request matched.
    #[error("a path prefix is to be replaced, but the request matched no prefix")]
    NoPrefix,
    /// The target would be longer than 65,534 bytes.
    #[error("the new target is too long")]
    TooLong,
}

fn invalid(field: &'static str, value: &str, reason: impl Into<String>) -> FilterError {
    FilterError::Field {
        field,
        value: value.to_owned(),
        reason: reason.into(),
    }
}

/// A hostname of a filter: without port, user name, or anything else.
fn hostname(name: &str) -> Result<Authority, FilterError> {
    let error = || invalid("hostname", name, "is no host's name");
    if headers::is_host(name) {
        name.parse().map_err(|_| error())
    } else {
        Err(error())
    }
}

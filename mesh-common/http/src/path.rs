//! Paths in one form, so that every reader of a request sees the same one.
//!
//! Rules are matched against what the backend gets, byte for byte: the normal form made here. It is made of what all
//! servers agree on (RFC 3986 §6.2.2): dot segments are removed, escapes of unreserved characters decoded, hexadecimal
//! digits in upper case, characters that no path may have escaped. What servers read in different ways is refused.
//! Kept as they are: empty segments (`//`), `%2F`, escapes of reserved characters, a slash at the end, and the query.

mod segment;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Method, Uri};

use segment::{Kind, Segment};

/// Why a request target is refused, with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PathError {
    /// A path without a slash at its beginning.
    #[error("the path does not begin with '/'")]
    NotAbsolute,
    /// A fragment is the client's own (RFC 9110 §7.1); some servers cut it off, some do not.
    #[error("the target has a fragment")]
    Fragment,
    /// A space or control character, as itself, or in the path escaped: `%00` ends a path for some servers.
    #[error("the target has a space or control character")]
    Control,
    /// `\`, which some servers read as `/`.
    #[error("the path has a backslash")]
    Backslash,
    /// `%` without two hexadecimal digits.
    #[error("the path has a '%' without two hexadecimal digits")]
    Escape,
    /// An overlong UTF-8 sequence, such as `%C0%AE`, which some servers read as `.` (RFC 3629 §3).
    #[error("the path has an overlong UTF-8 sequence")]
    Overlong,
    /// `..` at the root, or more often than there are segments.
    #[error("the path leads above the root")]
    AboveRoot,
    /// `..%2F` and the like: which directory is meant depends on when the escape is decoded.
    #[error("the path has an escaped slash or backslash next to a dot segment")]
    EscapedSeparator,
    /// `..;x`, which some servers read as `..`.
    #[error("the path has a dot segment with a parameter")]
    Parameter,
    /// `*` with another method than OPTIONS.
    #[error("the target '*' is for OPTIONS only")]
    Asterisk,
    /// Host and port alone with another method than CONNECT, or CONNECT with something else.
    #[error("host and port alone are the target of CONNECT, and of CONNECT only")]
    Authority,
    /// Over 65,534 bytes.
    #[error("the target is too long")]
    TooLong,
}

/// A path with its query, as in an origin-form target, in the one form that rules and backends see. Nothing is copied
/// when it is in that form already.
pub fn normalise(target: &str) -> Result<Cow<'_, str>, PathError> {
    let end = target.find('?').unwrap_or(target.len());
    let (path, query) = target.split_at(end);
    check_query(query)?;
    let segments = path.strip_prefix('/').ok_or(PathError::NotAbsolute)?;
    if segment::are_plain_names(segments.as_bytes()) {
        return Ok(Cow::Borrowed(target));
    }

    let mut is_normal = true;
    for segment in segments.split('/') {
        let segment = Segment::read(segment)?;
        is_normal &= segment.is_normal && segment.kind == Kind::Name;
    }
    if is_normal {
        return Ok(Cow::Borrowed(target));
    }
    let mut normal = without_dots(segments)?;
    normal.push_str(query);
    Ok(Cow::Owned(normal))
}

/// The same for a request's target in any of its forms (RFC 9112 §3.2): `*` is for OPTIONS only, host and port alone for
/// CONNECT only. The target is replaced by its normal form.
pub fn normalise_uri(method: &Method, uri: &mut Uri) -> Result<(), PathError> {
    let Some(target) = uri.path_and_query().map(PathAndQuery::as_str) else {
        return if *method == Method::CONNECT {
            Ok(())
        } else {
            Err(PathError::Authority)
        };
    };
    if target == "*" {
        return if *method == Method::OPTIONS {
            Ok(())
        } else {
            Err(PathError::Asterisk)
        };
    }
    // HTTP/2's extended CONNECT has scheme and path (RFC 8441 §4).
    if *method == Method::CONNECT && uri.scheme().is_none() {
        return Err(PathError::Authority);
    }
    // `http://host?query` has an empty path, which is `/` (RFC 9110 §4.2.3).
    let whole = if target.starts_with('?') {
        Cow::Owned(format!("/{target}"))
    } else {
        Cow::Borrowed(target)
    };
    let normal = match normalise(&whole)? {
        Cow::Borrowed(_) if matches!(whole, Cow::Borrowed(_)) => return Ok(()),
        normal => normal.into_owned(),
    };
    replace(uri, normal)
}

/// Puts another path and query into a URI.
pub(crate) fn replace(uri: &mut Uri, target: String) -> Result<(), PathError> {
    let target = PathAndQuery::from_maybe_shared(Bytes::from(target)).map_err(|_| PathError::TooLong)?;
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target);
    *uri = Uri::from_parts(parts).map_err(|_| PathError::TooLong)?;
    Ok(())
}

/// `query` begins with `?` or is empty.
fn check_query(query: &str) -> Result<(), PathError> {
    let is_allowed = |byte: u8| byte != b'#' && byte > b' ' && byte != 0x7f;
    let (chunks, rest) = query.as_bytes().as_chunks::<16>();
    // Each chunk as a whole, which processors do at once.
    let are_allowed = |chunk: &[u8; 16]| chunk.iter().fold(true, |all, byte| all & is_allowed(*byte));
    if chunks.iter().all(are_allowed) && rest.iter().all(|byte| is_allowed(*byte)) {
        return Ok(());
    }
    match query.bytes().find(|byte| !is_allowed(*byte)) {
        Some(b'#') => Err(PathError::Fragment),
        _ => Err(PathError::Control),
    }
}

/// The normal form of a path's segments (RFC 3986 §5.2.4, but that a path above the root is refused).
fn without_dots(segments: &str) -> Result<String, PathError> {
    let mut normal = String::with_capacity(segments.len() + 1);
    // Where a path ends in a dot segment, a slash stays.
    let mut ends_in_dots = false;
    // The least length to which a `..` may go back: an escaped separator is never taken away, for a server that
    // decodes it first would take away less.
    let mut solid = 0;
    for text in segments.split('/') {
        let segment = Segment::read(text)?;
        ends_in_dots = segment.kind != Kind::Name;
        match segment.kind {
            Kind::Name => {
                normal.push('/');
                segment::write(text, &mut normal)?;
                if segment.has_separator {
                    solid = normal.len();
                }
            }
            Kind::Dot => {}
            Kind::DotDot => {
                let start = normal.rfind('/').ok_or(PathError::AboveRoot)?;
                if start < solid {
                    return Err(PathError::EscapedSeparator);
                }
                normal.truncate(start);
            }
        }
    }
    if ends_in_dots {
        normal.push('/');
    }
    Ok(normal)
}

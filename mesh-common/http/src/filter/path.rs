//! Changes of a path, for redirects and rewrites (HTTPPathModifier). The query stays.

use http::Uri;
use mesh_model::PathEdit;

use super::{FilterError, invalid};
use crate::path;

/// A change of a path, checked.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// The whole path becomes this, which begins with a slash.
    Full(Box<str>),
    /// The prefix becomes this: empty, or it begins with a slash.
    Prefix(Box<str>),
}

// === impl Change ===

impl Change {
    pub(super) fn new(edit: &PathEdit) -> Result<Self, FilterError> {
        match edit {
            PathEdit::Full(text) => checked(text).map(Self::Full),
            PathEdit::Prefix(text) if text.is_empty() => Ok(Self::Prefix(Box::default())),
            PathEdit::Prefix(text) => checked(text).map(Self::Prefix),
        }
    }

    /// Path and query of a target after the change; `prefix` is the one that matched, without a slash at its end.
    pub(super) fn target(&self, uri: &Uri, prefix: Option<&str>) -> Result<String, FilterError> {
        let (start, rest) = match self {
            Self::Full(path) => (&**path, ""),
            Self::Prefix(replacement) => {
                let rest = prefix
                    .and_then(|prefix| uri.path().strip_prefix(prefix))
                    .ok_or(FilterError::NoPrefix)?;
                match (&**replacement, rest) {
                    ("", "") => ("/", ""),
                    (replacement, "") => (replacement, ""),
                    // The rest begins with a slash; one is enough.
                    (replacement, rest) => (replacement.strip_suffix('/').unwrap_or(replacement), rest),
                }
            }
        };
        Ok(match uri.query() {
            Some(query) => format!("{start}{rest}?{query}"),
            None => format!("{start}{rest}"),
        })
    }
}

fn checked(text: &str) -> Result<Box<str>, FilterError> {
    let normal =
        path::normalise(text).map_err(|error| invalid("path", text, format!("cannot be: {error}")))?;
    if normal.contains('?') {
        return Err(invalid("path", text, "has a '?': the query cannot be changed"));
    }
    Ok(normal.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(edit: &PathEdit, target: &str, prefix: Option<&str>) -> Result<String, FilterError> {
        Change::new(edit)?.target(&target.parse().unwrap(), prefix)
    }

    /// The table in Gateway API's documentation of HTTPPathModifier, and the root. Prefixes come without a slash at their
    /// end from the table of routes.
    #[test]
    fn a_prefix_is_replaced_as_gateway_api_has_it() {
        for (path, prefix, replacement, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo", "/foo", "/xyz/", "/xyz/"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/", "/foo", "/xyz/", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/foo/bar", "/foo", "/", "/bar"),
            ("/bar", "", "/xyz", "/xyz/bar"),
            ("/", "", "/xyz", "/xyz/"),
            ("/foo/bar?a=/foo", "/foo", "/xyz", "/xyz/bar?a=/foo"),
            ("/foo?", "/foo", "", "/?"),
            ("/foo//bar", "/foo", "/xyz/", "/xyz//bar"),
        ] {
            let edit = PathEdit::Prefix(replacement.to_owned());
            assert_eq!(
                change(&edit, path, Some(prefix)).unwrap(),
                expected,
                "{path} {prefix} {replacement}"
            );
        }
    }

    #[test]
    fn a_whole_path_is_replaced_and_the_query_stays() {
        let edit = PathEdit::Full("/one".to_owned());
        assert_eq!(change(&edit, "/a/b?x=1", None).unwrap(), "/one?x=1");
        assert_eq!(change(&edit, "/a/b", Some("/a")).unwrap(), "/one");
    }

    #[test]
    fn a_prefix_is_replaced_only_where_one_matched() {
        let edit = PathEdit::Prefix("/one".to_owned());
        assert_eq!(change(&edit, "/a", None), Err(FilterError::NoPrefix));
        assert_eq!(change(&edit, "/a", Some("/b")), Err(FilterError::NoPrefix));
    }

    #[test]
    fn new_paths_are_checked_and_in_normal_form() {
        for bad in ["one", "/a?b", "/a#b", "/a b", "/%zz", "/../a", "/a%2F.."] {
            for edit in [PathEdit::Full(bad.to_owned()), PathEdit::Prefix(bad.to_owned())] {
                let error = Change::new(&edit).unwrap_err().to_string();
                assert!(error.contains(&format!("path '{bad}'")), "{error}");
            }
        }
        assert!(Change::new(&PathEdit::Full(String::new())).is_err());
        let edit = PathEdit::Full("/a/../caf\u{e9}".to_owned());
        assert_eq!(change(&edit, "/", None).unwrap(), "/caf%C3%A9");
    }
}

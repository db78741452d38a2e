//! Changes of headers.

use http::{HeaderMap, HeaderName, HeaderValue};
use mesh_model::HeaderEdits;

use super::{FilterError, invalid};

/// What makes a message the one it is. Host has a filter of its own (URLRewrite).
const NOT_CHANGED: [HeaderName; 10] = [
    http::header::CONNECTION,
    http::header::CONTENT_LENGTH,
    http::header::HOST,
    http::header::TE,
    http::header::TRAILER,
    http::header::TRANSFER_ENCODING,
    http::header::UPGRADE,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Changes of headers, compiled.
#[derive(Debug, Clone)]
pub struct Edits {
    set: Box<[(HeaderName, HeaderValue)]>,
    add: Box<[(HeaderName, HeaderValue)]>,
    remove: Box<[HeaderName]>,
}

// === impl Edits ===

impl Edits {
    /// Compiles changes. Refused: names and values that no header can have, and the headers that frame a message or
    /// are for one hop.
    pub fn new(edits: &HeaderEdits) -> Result<Self, FilterError> {
        let lines = |lines: &[(String, String)]| {
            lines
                .iter()
                .map(|(name, text)| Ok((header(name)?, value(text)?)))
                .collect::<Result<_, _>>()
        };
        Ok(Self {
            set: lines(&edits.set)?,
            add: lines(&edits.add)?,
            remove: edits
                .remove
                .iter()
                .map(|name| header(name))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Applies them: set, add, remove. An added value is a line of its own behind those that are there, which is the same
    /// as one line with commas (RFC 9110 §5.3).
    pub fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
        for name in &self.remove {
            headers.remove(name);
        }
    }
}

fn header(name: &str) -> Result<HeaderName, FilterError> {
    let parsed = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| invalid("header", name, "is no header's name"))?;
    if NOT_CHANGED.contains(&parsed) {
        return Err(invalid("header", name, "cannot be changed by a filter"));
    }
    Ok(parsed)
}

fn value(text: &str) -> Result<HeaderValue, FilterError> {
    HeaderValue::from_str(text)
        .map_err(|_| invalid("header value", text, "has characters that no header can have"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edits(set: &[(&str, &str)], add: &[(&str, &str)], remove: &[&str]) -> Result<Edits, FilterError> {
        let owned = |lines: &[(&str, &str)]| {
            let lines = lines.iter();
            lines
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        Edits::new(&HeaderEdits {
            set: owned(set),
            add: owned(add),
            remove: remove.iter().map(|name| (*name).to_owned()).collect(),
        })
    }

    fn lines(headers: &HeaderMap, name: &str) -> Vec<String> {
        let values = headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn sets_adds_and_removes_in_this_order() {
        let edits = edits(
            &[("x-set", "new"), ("X-Both", "set")],
            &[("x-add", "b"), ("x-both", "added"), ("x-gone", "1")],
            &["X-Gone", "x-absent"],
        )
        .unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-set", "old"),
            ("x-set", "older"),
            ("x-add", "a"),
            ("x-gone", "0"),
            ("x-kept", "1"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        edits.apply(&mut headers);
        for (name, expected) in [
            ("X-Set", &["new"][..]),
            ("x-add", &["a", "b"]),
            ("x-both", &["set", "added"]),
            ("x-gone", &[]),
            ("x-kept", &["1"]),
        ] {
            assert_eq!(lines(&headers, name), expected, "{name}");
        }
    }

    #[test]
    fn refuses_what_no_header_can_be() {
        for bad in ["", "a b", "a:b", "\u{e9}", ":path", "a\r\nb"] {
            assert!(edits(&[(bad, "1")], &[], &[]).is_err(), "{bad:?}");
            assert!(edits(&[], &[(bad, "1")], &[]).is_err(), "{bad:?}");
            assert!(edits(&[], &[], &[bad]).is_err(), "{bad:?}");
        }
        for bad in ["a\r\nx: y", "a\0", "\u{7f}"] {
            let error = edits(&[("x-a", bad)], &[], &[]).unwrap_err().to_string();
            assert!(error.starts_with("the header value"), "{error}");
        }
    }

    #[test]
    fn refuses_what_frames_a_message() {
        for name in [
            "Host",
            "content-length",
            "Transfer-Encoding",
            "connection",
            "upgrade",
            "te",
            "keep-alive",
        ] {
            for edits in [
                edits(&[(name, "1")], &[], &[]),
                edits(&[], &[(name, "1")], &[]),
                edits(&[], &[], &[name]),
            ] {
                assert_eq!(
                    edits.unwrap_err().to_string(),
                    format!("the header '{name}' cannot be changed by a filter")
                );
            }
        }
    }
}

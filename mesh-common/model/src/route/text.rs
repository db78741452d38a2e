//! Rules as people read them: a line for a match, a few words for a filter. The same in mesh-control's and the nodes' answers.

use std::fmt;

use super::{
    BackendTarget, Cors, Filter, HeaderEdits, HttpMatch, Mirror, PathEdit, PathMatch, Redirect, Rewrite,
    TextMatch,
};

impl fmt::Display for HttpMatch {
    /// `GET /cart* x-user=a ?debug~[01]`: the method if one is asked for, the path, headers, query parameters. A star at the
    /// end of a path stands for everything below it, a tilde begins a regular expression.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(method) = &self.method {
            write!(f, "{method} ")?;
        }
        self.path.fmt(f)?;
        for header in &self.headers {
            write!(f, " {}{}", header.name, header.value)?;
        }
        for parameter in &self.query {
            write!(f, " ?{}{}", parameter.name, parameter.value)?;
        }
        Ok(())
    }
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => f.write_str(path),
            Self::Prefix(path) => write!(f, "{path}*"),
            Self::Regex(expression) => write!(f, "~{expression}"),
            Self::Grpc { service, method } => {
                grpc_part(f, service.as_ref())?;
                f.write_str("/")?;
                grpc_part(f, method.as_ref())
            }
        }
    }
}

fn grpc_part(f: &mut fmt::Formatter<'_>, part: Option<&TextMatch>) -> fmt::Result {
    match part {
        None => f.write_str("*"),
        Some(TextMatch::Exact(text)) => f.write_str(text),
        Some(TextMatch::Regex(expression)) => write!(f, "~{expression}"),
    }
}

impl fmt::Display for TextMatch {
    /// `=value`, or `~expression`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => write!(f, "={text}"),
            Self::Regex(expression) => write!(f, "~{expression}"),
        }
    }
}

impl fmt::Display for BackendTarget {
    /// `namespace/name:port`, or what is wrong with it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service { service, port } => write!(f, "{service}:{port}"),
            Self::Invalid { reason } => write!(f, "invalid: {reason}"),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RequestHeaders(edits) => write!(f, "request headers{edits}"),
            Self::ResponseHeaders(edits) => write!(f, "response headers{edits}"),
            Self::Redirect(redirect) => redirect.fmt(f),
            Self::Rewrite(rewrite) => rewrite.fmt(f),
            Self::Mirror(mirror) => mirror.fmt(f),
            Self::Cors(cors) => cors.fmt(f),
        }
    }
}

impl fmt::Display for HeaderEdits {
    /// ` set a=1 add b=2 remove c`, with a space in front.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.set {
            write!(f, " set {name}={value}")?;
        }
        for (name, value) in &self.add {
            write!(f, " add {name}={value}")?;
        }
        for name in &self.remove {
            write!(f, " remove {name}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Redirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "redirect {}", self.status)?;
        if let Some(scheme) = &self.scheme {
            write!(f, " scheme {scheme}")?;
        }
        if let Some(hostname) = &self.hostname {
            write!(f, " host {hostname}")?;
        }
        if let Some(port) = self.port {
            write!(f, " port {port}")?;
        }
        self.path.iter().try_for_each(|path| path.fmt(f))
    }
}

impl fmt::Display for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rewrite")?;
        if let Some(hostname) = &self.hostname {
            write!(f, " host {hostname}")?;
        }
        self.path.iter().try_for_each(|path| path.fmt(f))
    }
}

impl fmt::Display for PathEdit {
    /// With a space in front.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(path) => write!(f, " path {path}"),
            Self::Prefix(prefix) => write!(f, " prefix {prefix}"),
        }
    }
}

impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "mirror {}/{} to {}",
            self.numerator, self.denominator, self.target
        )
    }
}

impl fmt::Display for Cors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cors {}", self.allow_origins.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ValueMatch;

    fn value(name: &str, value: TextMatch) -> ValueMatch {
        ValueMatch {
            name: name.to_owned(),
            value,
        }
    }

    fn exact(text: &str) -> TextMatch {
        TextMatch::Exact(text.to_owned())
    }

    fn regex(text: &str) -> TextMatch {
        TextMatch::Regex(text.to_owned())
    }

    #[test]
    fn a_match_is_a_line() {
        let full = HttpMatch {
            path: PathMatch::Prefix("/cart".to_owned()),
            method: Some("GET".to_owned()),
            headers: vec![value("x-user", exact("a"))],
            query: vec![value("debug", regex("[01]"))],
        };
        assert_eq!(full.to_string(), "GET /cart* x-user=a ?debug~[01]");
        assert_eq!(HttpMatch::any().to_string(), "/*");
        for (path, text) in [
            (PathMatch::Exact("/a".to_owned()), "/a"),
            (PathMatch::Regex("/v[12]".to_owned()), "~/v[12]"),
            (
                PathMatch::Grpc {
                    service: Some(exact("shop.Cart")),
                    method: None,
                },
                "shop.Cart/*",
            ),
            (
                PathMatch::Grpc {
                    service: None,
                    method: Some(regex("Get.*")),
                },
                "*/~Get.*",
            ),
        ] {
            assert_eq!(path.to_string(), text);
        }
    }

    #[test]
    fn a_filter_is_a_few_words() {
        let edits = HeaderEdits {
            set: vec![("a".to_owned(), "1".to_owned())],
            add: vec![("b".to_owned(), "2".to_owned())],
            remove: vec!["c".to_owned()],
        };
        let target = BackendTarget::Service {
            service: "shop/copy".parse().unwrap(),
            port: 80,
        };
        let redirect = Redirect {
            scheme: Some("https".to_owned()),
            hostname: None,
            path: Some(PathEdit::Full("/x".to_owned())),
            port: Some(8443),
            status: 301,
        };
        let rewrite = Rewrite {
            hostname: Some("inner".to_owned()),
            path: Some(PathEdit::Prefix("/".to_owned())),
        };
        let mirror = Mirror {
            target,
            numerator: 1,
            denominator: 2,
        };
        for (filter, text) in [
            (
                Filter::RequestHeaders(edits),
                "request headers set a=1 add b=2 remove c",
            ),
            (
                Filter::Redirect(redirect),
                "redirect 301 scheme https port 8443 path /x",
            ),
            (Filter::Rewrite(rewrite), "rewrite host inner prefix /"),
            (Filter::Mirror(mirror), "mirror 1/2 to shop/copy:80"),
        ] {
            assert_eq!(filter.to_string(), text);
        }
    }
}

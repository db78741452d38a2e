//! A request as curl makes it, and what became of it.

use std::time::Duration;

use anyhow::{Context, Result};
use mesh_harness::Workload;
use serde_json::Value;

/// Longer than any request of a test may take; curl gives up before.
const DEADLINE: Duration = Duration::from_secs(30);

/// A request.
#[derive(Debug, Clone)]
#[must_use]
pub struct Ask {
    url: String,
    options: Vec<String>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status; 0 when there was no answer.
    pub status: u16,
    /// As in the status line: `HTTP/1.1`, `HTTP/2`.
    pub version: String,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Statuses of the interim answers before it.
    pub interim: Vec<u16>,
    /// The body.
    pub body: Vec<u8>,
    /// What curl said of it: 0 is well (curl(1), EXIT CODES).
    pub exit: i32,
    /// In words.
    pub error: String,
}

/// What the echo server saw of a request.
#[derive(Debug, Clone)]
pub struct Seen(pub Value);

// === impl Ask ===

impl Ask {
    /// A GET, over HTTP/1.1.
    pub fn get(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            options: Vec::new(),
        }
    }

    /// More words of curl's.
    pub fn options(mut self, options: &[&str]) -> Self {
        self.options
            .extend(options.iter().map(|&option| option.to_owned()));
        self
    }

    /// Another method.
    pub fn method(self, method: &str) -> Self {
        // With -X alone curl would wait for the body of an answer to HEAD.
        if method == "HEAD" {
            self.options(&["--head"])
        } else {
            self.options(&["-X", method])
        }
    }

    /// A header, as `name: value`.
    pub fn header(self, header: &str) -> Self {
        self.options(&["-H", header])
    }

    /// A body; the method is POST unless another is set.
    pub fn body(self, body: &str) -> Self {
        self.options(&["--data-binary", body])
    }

    /// Over HTTP/2, without asking first.
    pub fn http2(self) -> Self {
        self.options(&["--http2-prior-knowledge"])
    }

    /// Makes it; an answer of whatever kind is no error.
    pub fn send(&self, from: &Workload) -> Result<Answer> {
        let curl = from.place.program("curl")?;
        let curl = curl.args([
            "-sS",
            "--include",
            "--path-as-is",
            "--globoff",
            "--max-time",
            "20",
        ]);
        let finished = curl.args(&self.options).arg(&self.url).run(DEADLINE)?;
        let exit = finished.code().context("curl was killed")?;
        let mut answer = Answer::parse(&finished.stdout);
        answer.exit = exit;
        finished.stderr.trim().clone_into(&mut answer.error);
        Ok(answer)
    }
}

// === impl Answer ===

impl Answer {
    fn parse(mut bytes: &[u8]) -> Self {
        let mut answer = Self {
            status: 0,
            version: String::new(),
            headers: Vec::new(),
            interim: Vec::new(),
            body: Vec::new(),
            exit: 0,
            error: String::new(),
        };
        while let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let (head, rest) = bytes.split_at(end);
            let head = String::from_utf8_lossy(head);
            let mut lines = head.split("\r\n");
            let mut words = lines.next().unwrap_or_default().splitn(3, ' ');
            words.next().unwrap_or_default().clone_into(&mut answer.version);
            answer.status = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
            let headers = lines.filter_map(|line| line.split_once(':'));
            answer.headers = headers
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect();
            bytes = &rest[4..];
            if !(100..200).contains(&answer.status) || answer.status == 101 {
                break;
            }
            answer.interim.push(answer.status);
        }
        answer.body = bytes.to_vec();
        answer
    }

    /// All values of a header, joined; none when it is not there.
    pub fn header(&self, name: &str) -> Option<String> {
        let values = self.headers.iter().filter(|(known, _)| known == name);
        joined(values.map(|(_, value)| value.as_str()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What the echo server saw, if it was the one that answered.
    pub fn seen(&self) -> Option<Seen> {
        let value: Value = serde_json::from_slice(&self.body).ok()?;
        value.get("server")?;
        Some(Seen(value))
    }
}

// === impl Seen ===

impl Seen {
    /// All of what several answers in a row say, as curl writes them for a range of URLs.
    pub fn all(text: &str) -> Vec<Self> {
        let lines = text.lines().filter(|line| line.starts_with('{'));
        lines
            .filter_map(|line| serde_json::from_str(line).ok().map(Self))
            .collect()
    }

    /// A field as text; empty when it is null.
    pub fn field(&self, name: &str) -> String {
        match &self.0[name] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        }
    }

    /// The server that saw it.
    pub fn server(&self) -> &str {
        self.0["server"].as_str().unwrap_or_default()
    }

    /// All values of a header, joined; none when it was not there.
    pub fn header(&self, name: &str) -> Option<String> {
        let pairs = self.0["headers"].as_array()?;
        let values = pairs.iter().filter_map(|pair| {
            let known = pair[0].as_str()?;
            known.eq_ignore_ascii_case(name).then(|| pair[1].as_str())?
        });
        joined(values)
    }
}

/// Values of one header as one (RFC 9110 §5.2).
fn joined<'a>(values: impl Iterator<Item = &'a str>) -> Option<String> {
    let values: Vec<&str> = values.collect();
    (!values.is_empty()).then(|| values.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_an_answer_behind_interim_ones() {
        let answer = Answer::parse(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n\
              HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\n\r\nbody\r\n\r\nmore",
        );
        assert_eq!((answer.status, answer.interim.as_slice()), (200, &[100, 103][..]));
        assert_eq!(answer.header("x-a").as_deref(), Some("1,2"));
        assert_eq!(answer.header("link"), None);
        assert_eq!(answer.body, b"body\r\n\r\nmore");
    }

    #[test]
    fn reads_what_was_seen() {
        let seen =
            Seen::all("{\"server\":\"v1\",\"headers\":[[\"X-A\",\"1\"],[\"x-a\",\"2\"]],\"query\":null}\n");
        assert_eq!(seen[0].server(), "v1");
        assert_eq!(seen[0].header("X-a").as_deref(), Some("1,2"));
        assert_eq!(seen[0].field("query"), "");
    }
}

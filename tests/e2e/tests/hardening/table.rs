//! The tables of malformed and ambiguous requests, `http1.toml` and `http2.toml`, as types. They say what their fields mean.

use serde::Deserialize;

/// `http1.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http1 {
    pub case: Vec<Case1>,
}

/// A case of HTTP/1.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case1 {
    pub name: String,
    pub send: String,
    pub answers: Vec<u16>,
    end: Option<End>,
    #[serde(default)]
    pub seen: Vec<String>,
    #[serde(default)]
    pub bodies: Vec<String>,
    #[serde(default)]
    pub has: Vec<String>,
    #[serde(default)]
    pub lacks: Vec<String>,
    #[serde(default)]
    pub broken: bool,
    pub cause: Option<String>,
    #[serde(default)]
    pub engine: bool,
}

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// It serves on.
    Open,
    /// It is ended.
    Closed,
}

// === impl Http1 ===

impl Http1 {
    /// The table.
    pub fn read() -> Self {
        toml::from_str(include_str!("http1.toml")).expect("http1.toml is read")
    }
}

// === impl Case1 ===

impl Case1 {
    /// The bytes to be sent.
    pub fn bytes(&self) -> Vec<u8> {
        expanded(&self.send)
    }

    /// What becomes of the connection.
    pub fn end(&self) -> End {
        let is_good = self.answers.iter().all(|status| *status == 200);
        self.end.unwrap_or(if is_good { End::Open } else { End::Closed })
    }

    /// The content of the request that the backend sees at this place.
    pub fn body(&self, index: usize) -> Vec<u8> {
        self.bodies.get(index).map(|body| latin1(body)).unwrap_or_default()
    }
}

/// With the abbreviations written out.
pub fn expanded(text: &str) -> Vec<u8> {
    let mut text = text.to_owned();
    for (short, method) in [("{get}", "GET"), ("{post}", "POST")] {
        text = text.replace(short, &format!("{method} /a HTTP/1.1\r\nHost: web.shop\r\n"));
    }
    let mut whole = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        let (inside, behind) = after.split_once('}').expect("a brace is closed");
        let (part, count) = inside.rsplit_once('*').expect("{text*count}");
        whole.push_str(before);
        whole.push_str(&part.repeat(count.parse().expect("a count")));
        rest = behind;
    }
    latin1(&(whole + rest))
}

/// Each character as one byte.
pub fn latin1(text: &str) -> Vec<u8> {
    let byte = |c: char| u8::try_from(u32::from(c)).expect("a character up to U+00FF");
    text.chars().map(byte).collect()
}

//! The tables of malformed and ambiguous requests, `http1.toml` and `http2.toml`, as types. They say what their fields mean.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `http1.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Http1 {
    pub(crate) case: Vec<Case1>,
}

/// A case of HTTP/1.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case1 {
    pub(crate) name: String,
    pub(crate) send: String,
    pub(crate) answers: Vec<u16>,
    end: Option<End>,
    #[serde(default)]
    pub(crate) seen: Vec<String>,
    #[serde(default)]
    pub(crate) bodies: Vec<String>,
    #[serde(default)]
    pub(crate) has: Vec<String>,
    #[serde(default)]
    pub(crate) lacks: Vec<String>,
    #[serde(default)]
    pub(crate) broken: bool,
    pub(crate) cause: Option<String>,
    #[serde(default)]
    pub(crate) engine: bool,
}

/// `http2.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Http2 {
    pub(crate) case: Vec<Case2>,
}

/// A case of HTTP/2.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a word of its own in the table"
)]
pub(crate) struct Case2 {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) bare: bool,
    send: Vec<Send>,
    #[serde(default)]
    answers: BTreeMap<String, Answer>,
    all: Option<u16>,
    #[serde(default)]
    goaway: Codes,
    #[serde(default)]
    pub(crate) cut: bool,
    #[serde(default)]
    pub(crate) either: bool,
    #[serde(default)]
    pub(crate) some: bool,
    #[serde(default)]
    pub(crate) seen: Vec<String>,
    #[serde(default)]
    pub(crate) bodies: Vec<String>,
    #[serde(default)]
    pub(crate) has: Vec<String>,
    #[serde(default)]
    pub(crate) lacks: Vec<String>,
    pub(crate) cause: Option<String>,
    #[serde(default)]
    pub(crate) engine: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Send {
    Frame(String),
    Group { times: u32, send: Vec<String> },
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Answer {
    Status(u16),
    Reset(String),
}

#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum Codes {
    #[default]
    None,
    One(u32),
    Some(Vec<u32>),
}

/// A frame to be sent.
#[derive(Debug, Serialize)]
pub(crate) struct Frame {
    pub(crate) kind: String,
    pub(crate) stream: u32,
    pub(crate) flags: Vec<String>,
    pub(crate) payload: Payload,
}

/// What it carries.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Payload {
    Fields(Vec<(Vec<u8>, Vec<u8>)>),
    Bytes(Vec<u8>),
    Number(u32),
    Setting(u16, u32),
}

/// What a connection met with.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Met {
    /// By stream: a status, or `reset CODE`.
    pub(crate) answers: BTreeMap<u32, String>,
    pub(crate) goaway: Option<u32>,
    pub(crate) is_closed: bool,
}

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum End {
    /// It serves on.
    Open,
    /// It is ended.
    Closed,
}

// === impl Http1 ===

impl Http1 {
    /// The table.
    pub(crate) fn read() -> Self {
        toml::from_str(include_str!("http1.toml")).expect("http1.toml is read")
    }
}

// === impl Case1 ===

impl Case1 {
    /// The bytes to be sent.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        expanded(&self.send)
    }

    /// What becomes of the connection.
    pub(crate) fn end(&self) -> End {
        let is_good = self.answers.iter().all(|status| *status == 200);
        self.end.unwrap_or(if is_good { End::Open } else { End::Closed })
    }
}

// === impl Http2 ===

impl Http2 {
    /// The table.
    pub(crate) fn read() -> Self {
        toml::from_str(include_str!("http2.toml")).expect("http2.toml is read")
    }
}

// === impl Case2 ===

impl Case2 {
    /// The frames to be sent.
    pub(crate) fn frames(&self) -> Vec<Frame> {
        let mut frames = Vec::new();
        for send in &self.send {
            match send {
                Send::Frame(text) => frames.push(Frame::read(text)),
                Send::Group { times, send } => {
                    for n in 0..*times {
                        let written = |text: &String| {
                            text.replace("{s}", &(2 * n + 1).to_string())
                                .replace("{n}", &n.to_string())
                        };
                        frames.extend(send.iter().map(|text| Frame::read(&written(text))));
                    }
                }
            }
        }
        frames
    }

    /// What the streams get, as [`Met`] has it.
    pub(crate) fn answers(&self) -> BTreeMap<u32, String> {
        if let Some(status) = self.all {
            let streams = self.frames().into_iter().map(|frame| frame.stream);
            return streams.map(|stream| (stream, status.to_string())).collect();
        }
        let text = |answer: &Answer| match answer {
            Answer::Status(status) => status.to_string(),
            Answer::Reset(text) => text.clone(),
        };
        let pair = |(stream, answer): (&String, &Answer)| (stream.parse().expect("a stream"), text(answer));
        self.answers.iter().map(pair).collect()
    }

    /// Whether the connection may end, or must.
    pub(crate) fn ends(&self) -> bool {
        !matches!(self.goaway, Codes::None)
    }

    /// What is wrong with what the connection met; `serves` is whether it serves on.
    pub(crate) fn verdict(&self, met: &Met, serves: bool) -> Result<(), String> {
        let answers = self.answers();
        let has_answers = answers
            .iter()
            .all(|(stream, answer)| met.answers.get(stream) == Some(answer));
        let is_as_wanted = match &self.goaway {
            Codes::None => false,
            Codes::One(code) => met.goaway == Some(*code),
            Codes::Some(codes) => met.goaway.is_some_and(|code| codes.contains(&code)),
        };
        let has_ended = met.is_closed && (is_as_wanted || (self.cut && met.goaway.is_none()));
        let is_right = if self.ends() {
            has_ended || (self.either && serves && has_answers)
        } else {
            serves && has_answers
        };
        if is_right {
            return Ok(());
        }
        Err(format!(
            "wanted {answers:?} and {:?}, met {met:?}, serves on: {serves}",
            self.goaway
        ))
    }
}

// === impl Frame ===

impl Frame {
    fn read(text: &str) -> Self {
        let text = text
            .replace(
                "$get",
                ":method GET | :scheme http | :path /a | :authority web.shop",
            )
            .replace(
                "$post",
                ":method POST | :scheme http | :path /a | :authority web.shop",
            );
        let text = repeated(&text);
        let (head, payload) = text.split_once(" | ").expect("head | payload");
        let mut words = head.split(' ');
        let kind = words.next().unwrap_or_default();
        let number = |text: &str| text.parse().expect("a number");
        Self {
            kind: kind.to_owned(),
            stream: words.next().map_or(0, number),
            flags: words.map(str::to_owned).collect(),
            payload: match kind {
                "HEADERS" | "CONTINUATION" if payload.is_empty() => Payload::Fields(Vec::new()),
                "HEADERS" | "CONTINUATION" => Payload::Fields(payload.split(" | ").map(field).collect()),
                "DATA" => Payload::Bytes(latin1(payload)),
                "PING" | "RAW" | "BYTES" => Payload::Bytes(base16(payload)),
                "SETTINGS" => {
                    let (id, value) = payload.split_once('=').expect("id=value");
                    Payload::Setting(id.parse().expect("an id"), number(value))
                }
                _ => Payload::Number(number(payload)),
            },
        }
    }
}

fn field(text: &str) -> (Vec<u8>, Vec<u8>) {
    let (name, value) = text.split_once(' ').expect("name value");
    (latin1(name), latin1(value))
}

fn base16(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    let pair = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("ASCII");
        u8::from_str_radix(pair, 16).expect("base 16")
    };
    digits.chunks(2).map(pair).collect()
}

/// With the abbreviations written out.
fn expanded(text: &str) -> Vec<u8> {
    let mut text = text.to_owned();
    for (short, method) in [("{get}", "GET"), ("{post}", "POST")] {
        text = text.replace(short, &format!("{method} /a HTTP/1.1\r\nHost: web.shop\r\n"));
    }
    latin1(&repeated(&text))
}

/// With repetitions written out.
pub(crate) fn repeated(text: &str) -> String {
    let mut whole = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (inside, behind) = after.split_once('}').expect("a brace is closed");
        let (part, count) = inside.rsplit_once('*').expect("{text*count}");
        whole.push_str(before);
        whole.push_str(&part.repeat(count.parse().expect("a count")));
        rest = behind;
    }
    whole + rest
}

/// Each character as one byte.
pub(crate) fn latin1(text: &str) -> Vec<u8> {
    let byte = |c: char| u8::try_from(u32::from(c)).expect("a character up to U+00FF");
    text.chars().map(byte).collect()
}

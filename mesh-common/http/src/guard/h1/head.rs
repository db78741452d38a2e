//! The head of one request: its first line and its header fields.

use super::fields::{elements, is_token, split};
use super::lines::Lines;
use super::{Limits, target};
use crate::guard::Refusal;

/// Longest target: what the `http` crate can hold.
const MAX_TARGET: usize = 65_534;
/// Fields that a Connection header must not name: taken away, they would change where a request goes, or where it ends.
const NEVER_NOMINATED: [&[u8]; 4] = [b"host", b"content-length", b"transfer-encoding", b"connection"];

/// A head that is being read.
#[derive(Debug, Default)]
pub(super) struct Head {
    lines: Lines,
    first_line: FirstLine,
    method: Method,
    /// Where the target's authority lies in the head.
    authority: Option<(usize, usize)>,
    /// Where Host's value lies in the head.
    host: Option<(usize, usize)>,
    fields: usize,
    content_length: Option<u64>,
    is_chunked: bool,
    connection: Connection,
    /// Where the line with Upgrade lies in the head, and whether it names nothing that is never granted.
    upgrade: Option<((usize, usize), bool)>,
}

/// What a complete head says.
#[derive(Debug)]
pub(super) struct Complete {
    /// Its length in bytes.
    pub length: usize,
    pub framing: Framing,
    /// Whether another protocol may follow: an upgrade, or CONNECT.
    pub is_upgrade: bool,
    /// Whether another request may follow.
    pub is_persistent: bool,
    /// Where a line lies that must not go on: an Upgrade that is none.
    pub cut: Option<(usize, usize)>,
}

/// How the request's content is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length(u64),
    Chunked,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum FirstLine {
    #[default]
    Awaited,
    /// And one empty line has come before it.
    AwaitedStill,
    Http10,
    Http11,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Method {
    #[default]
    Other,
    Connect,
    Trace,
}

#[derive(Debug, Default)]
struct Connection {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
}

// === impl Head ===

impl Head {
    /// Whether not one byte of it has come.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Reads on. `bytes` begin with the head's first byte. `None`: it is not complete.
    pub(super) fn read(&mut self, bytes: &[u8], limits: Limits) -> Result<Option<Complete>, Refusal> {
        // What lies behind the limit is not looked at: the head would be too large, whatever it is.
        let within = bytes.get(..limits.max_head_bytes).unwrap_or(bytes);
        while let Some(line) = self.lines.next(within)? {
            if !self.has_first_line() {
                self.read_first_line(line, within)?;
            } else if line.is_empty() {
                return self.complete(within).map(Some);
            } else {
                self.fields += 1;
                if self.fields > limits.max_fields {
                    return Err(Refusal::TooManyFields);
                }
                self.field(line, within)?;
            }
        }
        if bytes.len() < limits.max_head_bytes {
            Ok(None)
        } else if self.has_first_line() {
            Err(Refusal::HeadTooLarge)
        } else {
            Err(Refusal::TargetTooLong)
        }
    }

    fn has_first_line(&self) -> bool {
        matches!(self.first_line, FirstLine::Http10 | FirstLine::Http11)
    }

    fn read_first_line(&mut self, line: &[u8], head: &[u8]) -> Result<(), Refusal> {
        if line.is_empty() {
            // One is forgiven: some clients end a request's content with it (RFC 9112 §2.2).
            if self.first_line == FirstLine::AwaitedStill {
                return Err(Refusal::EmptyLines);
            }
            self.first_line = FirstLine::AwaitedStill;
            return Ok(());
        }
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::RequestLine);
        };
        if !is_token(method) {
            return Err(Refusal::Method);
        }
        let version = match version {
            b"HTTP/1.1" => FirstLine::Http11,
            b"HTTP/1.0" => FirstLine::Http10,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                if major.is_ascii_digit() && minor.is_ascii_digit() =>
            {
                return Err(Refusal::Version);
            }
            _ => return Err(Refusal::RequestLine),
        };
        if target.len() > MAX_TARGET {
            return Err(Refusal::TargetTooLong);
        }
        self.method = match method {
            b"CONNECT" => Method::Connect,
            b"TRACE" => Method::Trace,
            _ => Method::Other,
        };
        self.authority = target::check(method, target)?.and_then(|authority| span(head, authority));
        self.first_line = version;
        Ok(())
    }

    fn field(&mut self, line: &[u8], head: &[u8]) -> Result<(), Refusal> {
        let (name, value) = split(line)?;
        if name.eq_ignore_ascii_case(b"host") {
            if self.host.is_some() {
                return Err(Refusal::HostTwice);
            }
            if !target::is_authority(value) {
                return Err(Refusal::Host);
            }
            self.host = span(head, value);
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let length = number(value).ok_or(Refusal::ContentLength)?;
            if self.content_length.replace(length).is_some() {
                return Err(Refusal::ContentLengthTwice);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if std::mem::replace(&mut self.is_chunked, true) {
                return Err(Refusal::CodingTwice);
            }
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::Coding);
            }
        } else if name.eq_ignore_ascii_case(b"connection") {
            self.connection.read(value)?;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            if self.upgrade.is_some() {
                return Err(Refusal::UpgradeTwice);
            }
            // An upgrade to HTTP/2 is never granted (RFC 9113 §3.1 has given it up): it would hide requests.
            let is_grantable = elements(value).all(|protocol| !protocol.eq_ignore_ascii_case(b"h2c"));
            self.upgrade = span(head, line).map(|(start, end)| ((start, end + 2), is_grantable));
        }
        Ok(())
    }

    fn complete(&self, head: &[u8]) -> Result<Complete, Refusal> {
        let is_http10 = self.first_line == FirstLine::Http10;
        let text = |(start, end): (usize, usize)| head.get(start..end);
        let host = self.host.and_then(text);
        match (self.authority.and_then(text), host) {
            (_, None) if !is_http10 => return Err(Refusal::HostMissing),
            (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
                return Err(Refusal::HostDiffers);
            }
            _ => {}
        }
        let framing = match (self.is_chunked, self.content_length) {
            (true, _) if is_http10 => return Err(Refusal::CodingInHttp10),
            (true, Some(_)) => return Err(Refusal::TwoFramings),
            (true, None) => Framing::Chunked,
            (false, Some(length @ 1..)) => Framing::Length(length),
            (false, _) => Framing::None,
        };
        if self.method != Method::Other && framing != Framing::None {
            return Err(Refusal::Content);
        }
        let Connection {
            close,
            keep_alive,
            upgrade,
        } = self.connection;
        let asks = upgrade && !is_http10 && matches!(self.upgrade, Some((_, true)));
        Ok(Complete {
            length: self.lines.length(),
            framing,
            is_upgrade: self.method == Method::Connect || asks,
            is_persistent: !close && (keep_alive || !is_http10),
            cut: self.upgrade.filter(|_| !asks).map(|(line, _)| line),
        })
    }
}

// === impl Connection ===

impl Connection {
    fn read(&mut self, value: &[u8]) -> Result<(), Refusal> {
        for option in elements(value).filter(|option| !option.is_empty()) {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            if !is_token(option) || NEVER_NOMINATED.iter().any(|name| is(name)) {
                return Err(Refusal::Connection);
            }
            self.close |= is(b"close");
            self.keep_alive |= is(b"keep-alive");
            self.upgrade |= is(b"upgrade");
        }
        Ok(())
    }
}

/// Digits, and nothing else; not more than fits a signed number of 64 bits, which is what some keep it in.
pub(in crate::guard) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = std::str::from_utf8(text).ok()?.parse().ok()?;
    i64::try_from(number).is_ok().then_some(number)
}

/// Where `part`, a slice of `whole`, lies in it.
fn span(whole: &[u8], part: &[u8]) -> Option<(usize, usize)> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let end = start + part.len();
    (end <= whole.len()).then_some((start, end))
}

//! The parts of a line: names, numbers, addresses and texts, in both forms.
//!
//! A Vec takes everything, so that writing to it cannot fail: results of the formatting that is left, for what is rare, are
//! not looked at.

use std::cell::Cell;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mesh_model::{Identity, ResourceName, RuleName};

use super::TARGET;
use crate::outcome::Flags;

/// What most lines fit into.
const ROOM: usize = 1024;
/// `2026-03-01T12:00:00.`
const SECOND: usize = 20;

thread_local! {
    /// A second since 1970, and how it is written: it is the same for many lines.
    static WRITTEN: Cell<(u64, [u8; SECOND])> = const { Cell::new((u64::MAX, [0; SECOND])) };
}

/// A line that is being written.
pub(super) struct Line<'a> {
    out: &'a mut Vec<u8>,
    is_json: bool,
}

impl<'a> Line<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>, is_json: bool) -> Self {
        out.reserve(ROOM);
        Self { out, is_json }
    }

    /// When, how bad, and what.
    pub(super) fn start(&mut self, now: SystemTime, is_failure: bool) {
        if self.is_json {
            self.push("{\"timestamp\":\"");
        }
        self.timestamp(now);
        self.push(match (self.is_json, is_failure) {
            (true, true) => "\",\"level\":\"WARN\",\"message\":\"request failed\"",
            (true, false) => "\",\"level\":\"INFO\",\"message\":\"request complete\"",
            (false, true) => "  WARN ",
            (false, false) => "  INFO ",
        });
        if !self.is_json {
            self.push(TARGET);
            self.push(if is_failure {
                ": request failed"
            } else {
                ": request complete"
            });
        }
    }

    pub(super) fn end(self) {
        if self.is_json {
            self.out.extend_from_slice(b",\"target\":\"");
            self.out.extend_from_slice(TARGET.as_bytes());
            self.out.extend_from_slice(b"\"}");
        }
        self.out.push(b'\n');
    }

    /// What comes before a value.
    pub(super) fn name(&mut self, text: &str, json: &str) {
        self.push(if self.is_json { json } else { text });
    }

    pub(super) fn number(&mut self, number: Option<u64>) {
        match number {
            Some(number) => self.digits(number),
            None => self.absent(),
        }
    }

    /// A word of ours; empty when there is none.
    pub(super) fn word(&mut self, word: &str) {
        if word.is_empty() && !self.is_json {
            return self.absent();
        }
        self.quote();
        self.push(word);
        self.quote();
    }

    pub(super) fn resource(&mut self, name: Option<&ResourceName>) {
        let Some(name) = name else { return self.absent() };
        self.quote();
        self.full_name(name);
        self.quote();
    }

    pub(super) fn port(&mut self, service: Option<(&ResourceName, u16)>) {
        let Some((name, port)) = service else {
            return self.absent();
        };
        self.quote();
        self.full_name(name);
        self.push(":");
        self.digits(port.into());
        self.quote();
    }

    /// As it is displayed, in the way of `identity`.
    pub(super) fn identity(&mut self, identity: Option<&Identity>) {
        let Some(identity) = identity else {
            return self.absent();
        };
        self.quote();
        self.push("spiffe://");
        self.push(identity.trust_domain().as_str());
        self.push("/ns/");
        self.push(identity.namespace());
        self.push("/sa/");
        self.push(identity.service_account());
        self.quote();
    }

    pub(super) fn rule(&mut self, rule: Option<&RuleName>) {
        let Some(rule) = rule else { return self.absent() };
        if self.is_json && !is_plain(rule.rule.as_bytes()) {
            return drop(serde_json::to_writer(&mut *self.out, &format_args!("{rule}")));
        }
        self.quote();
        self.full_name(&rule.route);
        self.push("#");
        self.push(&rule.rule);
        self.quote();
    }

    pub(super) fn address(&mut self, address: Option<SocketAddr>) {
        let Some(address) = address else {
            return self.absent();
        };
        self.quote();
        match address {
            SocketAddr::V4(address) => {
                let [a, b, c, d] = address.ip().octets();
                self.byte(a, b'.');
                self.byte(b, b'.');
                self.byte(c, b'.');
                self.byte(d, b':');
                self.digits(address.port().into());
            }
            SocketAddr::V6(_) => drop(write!(self.out, "{address}")),
        }
        self.quote();
    }

    /// Codes with commas between them, or a dash.
    pub(super) fn flags(&mut self, flags: Flags) {
        self.quote();
        if flags.is_empty() {
            self.push("-");
        }
        for (index, flag) in flags.iter().enumerate() {
            if index > 0 {
                self.push(",");
            }
            self.push(flag.code());
        }
        self.quote();
    }

    /// Seconds, as a number, with as many decimals as it takes.
    pub(super) fn seconds(&mut self, duration: Option<Duration>) {
        let Some(duration) = duration else {
            return self.absent();
        };
        self.digits(duration.as_secs());
        let mut nanos = duration.subsec_nanos();
        if nanos == 0 {
            // A number that is not whole elsewhere is not whole here: some readers of JSON tell them apart.
            if self.is_json {
                self.push(".0");
            }
            return;
        }
        let mut decimals = [b'0'; 9];
        for place in decimals.iter_mut().rev() {
            *place = digit(nanos.into());
            nanos /= 10;
        }
        let length = decimals
            .iter()
            .rposition(|digit| *digit != b'0')
            .map_or(0, |last| last + 1);
        self.push(".");
        self.out
            .extend_from_slice(decimals.get(..length).unwrap_or_default());
    }

    /// A text of a client's choice, cut to `longest` bytes.
    pub(super) fn of_client(&mut self, text: &str, longest: usize) {
        let end = text.floor_char_boundary(longest);
        let cut = &text[..end];
        let is_cut = end < text.len();
        if is_plain(cut.as_bytes()) && !is_cut {
            self.out.push(b'"');
            self.push(cut);
            self.out.push(b'"');
        } else if !self.is_json {
            drop(write!(self.out, "{cut:?}"));
            if is_cut {
                self.push("…");
            }
        } else if is_cut {
            drop(serde_json::to_writer(&mut *self.out, &format_args!("{cut}…")));
        } else {
            drop(serde_json::to_writer(&mut *self.out, cut));
        }
    }

    /// As RFC 3339 has it, with microseconds.
    fn timestamp(&mut self, now: SystemTime) {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (mut of, mut second) = WRITTEN.get();
        if of != since.as_secs() {
            of = since.as_secs();
            let mut place = &mut second[..];
            let moment = UNIX_EPOCH + Duration::from_secs(of);
            drop(write!(place, "{}", humantime::format_rfc3339_seconds(moment)));
            // Where it has its Z.
            second[SECOND - 1] = b'.';
            WRITTEN.set((of, second));
        }
        self.out.extend_from_slice(&second);
        let mut micros = since.subsec_micros();
        let mut decimals = *b"000000Z";
        for place in decimals.iter_mut().rev().skip(1) {
            *place = digit(micros.into());
            micros /= 10;
        }
        self.out.extend_from_slice(&decimals);
    }

    fn full_name(&mut self, name: &ResourceName) {
        self.push(name.namespace());
        self.push("/");
        self.push(name.name());
    }

    fn digits(&mut self, mut number: u64) {
        // The largest has 20.
        let mut digits = [b'0'; 20];
        let mut length = 0;
        for place in digits.iter_mut().rev() {
            *place = digit(number);
            number /= 10;
            length += 1;
            if number == 0 {
                break;
            }
        }
        self.out
            .extend_from_slice(digits.get(20 - length..).unwrap_or_default());
    }

    /// A number below 256, and what follows it.
    fn byte(&mut self, number: u8, after: u8) {
        let (hundreds, tens, ones) = (b'0' + number / 100, b'0' + number / 10 % 10, b'0' + number % 10);
        match number {
            0..10 => self.out.extend_from_slice(&[ones, after]),
            10..100 => self.out.extend_from_slice(&[tens, ones, after]),
            _ => self.out.extend_from_slice(&[hundreds, tens, ones, after]),
        }
    }

    fn absent(&mut self) {
        self.push(if self.is_json { "null" } else { "-" });
    }

    /// Around what is a word in text and a string in JSON.
    fn quote(&mut self) {
        if self.is_json {
            self.out.push(b'"');
        }
    }

    fn push(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }
}

/// The last decimal digit.
fn digit(number: u64) -> u8 {
    // Below 10.
    b'0' + u8::try_from(number % 10).unwrap_or_default()
}

/// Whether a text is the same in quotes, in either form: printable ASCII without quotes and backslashes.
fn is_plain(text: &[u8]) -> bool {
    const TOGETHER: usize = 16;
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    let (chunks, rest) = text.as_chunks::<TOGETHER>();
    // Each chunk as a whole, which processors do at once.
    let are_plain = |chunk: &[u8; TOGETHER]| chunk.iter().fold(true, |all, byte| all & is_plain(*byte));
    chunks.iter().all(are_plain) && rest.iter().all(|byte| is_plain(*byte))
}

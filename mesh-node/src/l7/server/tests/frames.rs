//! Frames of HTTP/2, written and read by hand, with the least of HPACK that will do.

use super::corpus::table::{Frame, Met, Payload};
use super::*;

/// What the server's frames said so far.
#[derive(Default)]
pub(super) struct Frames {
    pub met: Met,
    bytes: Vec<u8>,
}

/// A frame as it is sent.
pub(super) fn encoded(frame: &Frame) -> Vec<u8> {
    let mut payload = match &frame.payload {
        Payload::Fields(fields) => fields.iter().flat_map(literal).collect(),
        Payload::Bytes(bytes) => bytes.clone(),
        Payload::Number(number) => number.to_be_bytes().to_vec(),
        Payload::Setting(id, value) => [&id.to_be_bytes()[..], &value.to_be_bytes()].concat(),
    };
    let kind = match frame.kind.as_str() {
        "RAW" | "BYTES" => return payload,
        "DATA" => 0,
        "HEADERS" => 1,
        "PRIORITY" => {
            payload.push(0);
            2
        }
        "RST_STREAM" => 3,
        "SETTINGS" => 4,
        "PING" => 6,
        "WINDOW_UPDATE" => 8,
        "CONTINUATION" => 9,
        other => panic!("what is {other}?"),
    };
    let flag = |flag: &String| match flag.as_str() {
        "END_STREAM" => 1,
        "END_HEADERS" => 4,
        other => panic!("what is {other}?"),
    };
    let flags = frame.flags.iter().map(flag).sum();
    frame_of(kind, flags, frame.stream, &payload)
}

fn frame_of(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A literal field that is not indexed (RFC 7541 §6.2.2).
fn literal((name, value): &(Vec<u8>, Vec<u8>)) -> Vec<u8> {
    let mut literal = vec![0];
    for text in [name, value] {
        integer(text.len(), &mut literal);
        literal.extend(text);
    }
    literal
}

/// With a prefix of seven bits (RFC 7541 §5.1).
fn integer(mut number: usize, bytes: &mut Vec<u8>) {
    if number < 127 {
        bytes.push(u8::try_from(number).unwrap());
        return;
    }
    bytes.push(127);
    number -= 127;
    while number >= 128 {
        bytes.push(u8::try_from(number % 128).unwrap() | 128);
        number /= 128;
    }
    bytes.push(u8::try_from(number).unwrap());
}

/// The status that a header block begins with: indexed, or a literal with digits in Huffman's code.
fn status(block: &[u8]) -> String {
    match block {
        [0x88, ..] => "200".into(),
        [0x89, ..] => "204".into(),
        [0x8c, ..] => "400".into(),
        [0x8d, ..] => "404".into(),
        [0x8e, ..] => "500".into(),
        [0x48, length, digits @ ..] => huffman(&digits[..usize::from(length & 0x7f)]),
        other => panic!("what status is {:x?}?", &other[..4]),
    }
}

/// Three digits of RFC 7541, Appendix B: of five bits up to 2, of six from 3 on.
fn huffman(bytes: &[u8]) -> String {
    let mut bits = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    let mut take = |count: usize| bits.by_ref().take(count).fold(0, |code, bit| code << 1 | bit);
    let mut digit = || match take(5) {
        code @ 0..=2 => code,
        code => (code << 1 | take(1)) - 25 + 3,
    };
    format!("{}{}{}", digit(), digit(), digit())
}

impl Frames {
    /// Reads until it is enough, or the connection has ended, or nothing more comes in time.
    pub(super) async fn read(
        &mut self,
        server: &mut Server,
        is_enough: impl Fn(&Met) -> bool,
        limit: Duration,
    ) {
        let end = tokio::time::Instant::now() + limit;
        loop {
            self.parse();
            if is_enough(&self.met) || self.met.is_closed {
                return;
            }
            match tokio::time::timeout_at(end, server.client.read_buf(&mut self.bytes)).await {
                Ok(Ok(0) | Err(_)) => self.met.is_closed = true,
                Ok(Ok(_)) => {}
                Err(_) => return,
            }
        }
    }

    /// Whether one more request is answered.
    pub(super) async fn serves(&mut self, server: &mut Server) -> bool {
        const PROBE: u32 = 1_000_001;
        let fields: String = [":method GET", ":scheme http", ":path /probe", ":authority a"].join("\n");
        let fields = fields.lines().map(|field| field.split_once(' ').unwrap());
        let fields = fields.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        let block: Vec<u8> = fields.flat_map(|field| literal(&field)).collect();
        if server
            .client
            .write_all(&frame_of(1, 5, PROBE, &block))
            .await
            .is_err()
        {
            return false;
        }
        self.read(server, |met| met.answers.contains_key(&PROBE), DEADLINE)
            .await;
        self.met
            .answers
            .remove(&PROBE)
            .is_some_and(|answer| answer == "200")
    }

    fn parse(&mut self) {
        while let [a, b, c, kind, _, stream @ ..] = &self.bytes[..]
            && stream.len() >= 4
        {
            let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            let Some(payload) = stream.get(4..4 + length) else {
                return;
            };
            let word = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
            let id = u32::from_be_bytes(stream[..4].try_into().unwrap());
            match kind {
                1 => drop(self.met.answers.insert(id, status(payload))),
                // Once an answer is whole, a reset without an error only says that no more is wanted.
                3 if word(0) != 0 => drop(self.met.answers.insert(id, format!("reset {}", word(0)))),
                7 => self.met.goaway = Some(word(4)),
                _ => {}
            }
            self.bytes.drain(..9 + length);
        }
    }
}

//! Counts the frames of one HTTP/2 connection that cost more than they carry, on its bytes as they come.
//!
//! The library that reads the frames checks what they say, and has limits of its own. What it does not count is counted here, as
//! Envoy does (`source/common/http/http2/protocol_constraints.h`): what a client may send grows with what it asks
//! for and gets. Where Envoy counts for the whole life of a connection, an allowance here is refilled up to a bound, so
//! that a long life does not make a large flood.

use super::Refusal;

#[cfg(test)]
mod tests;

/// The client's first bytes (RFC 9113 §3.4).
const PREFACE: usize = 24;
/// The head of a frame (RFC 9113 §4.1).
const FRAME_HEAD: usize = 9;
/// No allowance grows beyond this; the largest flood that there can be at once.
const MOST: u32 = 10_000;
/// PRIORITY frames for each stream, and as many at the start (Envoy's `max_inbound_priority_frames_per_stream`).
const PRIORITIES_A_STREAM: u32 = 100;
/// WINDOW_UPDATE frames at the start (Envoy).
const WINDOW_UPDATES: u32 = 5;
/// WINDOW_UPDATE frames for each stream (Envoy).
const WINDOW_UPDATES_A_STREAM: u32 = 2;
/// WINDOW_UPDATE frames for each DATA frame that was sent (twice Envoy's
/// `max_inbound_window_update_frames_per_data_frame_sent` of 10, as its formula has it).
const WINDOW_UPDATES_A_DATA_FRAME: u32 = 20;
/// PING and SETTINGS frames at the start: as many as Envoy lets wait to be acknowledged
/// (`max_outbound_control_frames`).
const CONTROLS: u32 = 1_000;
/// PING and SETTINGS frames for each stream, and for each DATA frame that was sent: clients that measure the
/// bandwidth send one for each burst of data.
const CONTROLS_A_STREAM: u32 = 2;
/// PING and SETTINGS frames for each second: a client that probes its connection does so every second at the most.
const CONTROLS_A_SECOND: u32 = 10;
/// Frames without content in a row, END_STREAM apart (Envoy's `max_consecutive_inbound_frames_with_empty_payload`).
const EMPTY_FRAMES: u32 = 1;
/// How many streams may be reset right after they were opened, beyond every second one (Envoy's
/// `premature_reset_total_stream_count` of 500, of which half may be).
const PREMATURE_RESETS: u32 = 250;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// The count.
#[derive(Debug)]
pub struct Guard {
    /// Bytes of the preface that have not come.
    preface: usize,
    /// Whether SETTINGS has come, which is the rest of the preface.
    has_settings: bool,
    /// The head of the frame at hand, and how much of it has come.
    head: [u8; FRAME_HEAD],
    filled: usize,
    /// Bytes of the payload at hand that have not come.
    payload: usize,
    /// Whether a header block is not complete.
    in_block: bool,
    last_stream: u32,
    /// The last stream as of a second or two ago, at the least.
    older_streams: [u32; 2],
    empty_frames: u32,
    priorities: Allowance,
    window_updates: Allowance,
    controls: Allowance,
    /// Counts halves.
    resets: Allowance,
}

/// What is left of an allowance.
#[derive(Debug)]
struct Allowance {
    left: u32,
    most: u32,
}

// === impl Guard ===

impl Default for Guard {
    fn default() -> Self {
        Self {
            preface: PREFACE,
            has_settings: false,
            head: [0; FRAME_HEAD],
            filled: 0,
            payload: 0,
            in_block: false,
            last_stream: 0,
            older_streams: [0; 2],
            empty_frames: 0,
            priorities: Allowance::new(PRIORITIES_A_STREAM, MOST),
            window_updates: Allowance::new(WINDOW_UPDATES, MOST),
            controls: Allowance::new(CONTROLS, MOST),
            resets: Allowance::new(2 * PREMATURE_RESETS, 4 * PREMATURE_RESETS),
        }
    }
}

impl Guard {
    /// Counts the frames in `bytes`, which follow those of the last call.
    pub fn read(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        while !bytes.is_empty() {
            if self.preface > 0 {
                skip(&mut bytes, &mut self.preface);
            } else if self.payload > 0 {
                skip(&mut bytes, &mut self.payload);
            } else if self.filled == 0
                && let Some((head, rest)) = bytes.split_first_chunk()
            {
                self.head = *head;
                bytes = rest;
                self.frame()?;
            } else if let Some((first, rest)) = bytes.split_first() {
                if let Some(byte) = self.head.get_mut(self.filled) {
                    *byte = *first;
                }
                self.filled += 1;
                bytes = rest;
                if self.filled == FRAME_HEAD {
                    self.filled = 0;
                    self.frame()?;
                }
            }
        }
        Ok(())
    }

    /// `frames` DATA frames were sent to the client.
    pub fn sent_data(&mut self, frames: u32) {
        self.window_updates
            .refill(frames.saturating_mul(WINDOW_UPDATES_A_DATA_FRAME));
        self.controls.refill(frames);
    }

    /// `seconds` have passed since the last call.
    pub fn passed(&mut self, seconds: u32) {
        if seconds > 0 {
            self.controls.refill(seconds.saturating_mul(CONTROLS_A_SECOND));
            let older = if seconds > 1 {
                self.last_stream
            } else {
                self.older_streams[0]
            };
            self.older_streams = [self.last_stream, older];
        }
    }

    /// Whether the client is in the midst of what has to come without delay: the preface, or a header block.
    pub fn is_in_head(&self) -> bool {
        let is_in_headers = self.payload > 0 && matches!(self.head[3], HEADERS | CONTINUATION);
        self.preface > 0 || !self.has_settings || self.in_block || is_in_headers || self.filled > 0
    }

    /// Frames of a size that their kind does not have (RFC 9113 §6): the library ends the connection, too, but with
    /// another code.
    fn size(&self, kind: u8, flags: u8) -> Result<(), Refusal> {
        let is_right = match kind {
            RST_STREAM | WINDOW_UPDATE => self.payload == 4,
            SETTINGS if flags & ACK != 0 => self.payload == 0,
            SETTINGS => self.payload.is_multiple_of(6),
            PING => self.payload == 8,
            GOAWAY => self.payload >= 8,
            _ => true,
        };
        if is_right { Ok(()) } else { Err(Refusal::FrameSize) }
    }

    fn frame(&mut self) -> Result<(), Refusal> {
        let [a, b, c, kind, flags, stream @ ..] = self.head;
        self.payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        if !self.has_settings && (kind != SETTINGS || flags & ACK != 0) {
            return Err(Refusal::Preface);
        }
        self.has_settings = true;
        self.size(kind, flags)?;
        match kind {
            HEADERS => self.headers(stream, flags),
            CONTINUATION => self.in_block = flags & END_HEADERS == 0,
            PRIORITY => self.priorities.take(1, Refusal::PriorityFlood)?,
            // What has lived for a second or two was worth its request (Envoy's
            // `premature_reset_min_stream_lifetime_seconds`).
            RST_STREAM if stream > self.older_streams[1] => self.resets.take(2, Refusal::ResetFlood)?,
            SETTINGS | PING => self.controls.take(1, Refusal::ControlFlood)?,
            WINDOW_UPDATE => self.window_updates.take(1, Refusal::WindowFlood)?,
            _ => {}
        }
        self.empty(kind, flags)
    }

    fn headers(&mut self, stream: u32, flags: u8) {
        self.in_block = flags & END_HEADERS == 0;
        if stream > self.last_stream {
            self.last_stream = stream;
            self.priorities.refill(PRIORITIES_A_STREAM);
            self.window_updates.refill(WINDOW_UPDATES_A_STREAM);
            self.controls.refill(CONTROLS_A_STREAM);
            self.resets.refill(1);
        }
    }

    /// Frames that may have content and have none, and end nothing.
    fn empty(&mut self, kind: u8, flags: u8) -> Result<(), Refusal> {
        let ends = match kind {
            DATA | HEADERS => flags & END_STREAM != 0,
            CONTINUATION => flags & END_HEADERS != 0,
            _ => return Ok(()),
        };
        if ends || self.payload > 0 {
            self.empty_frames = 0;
            return Ok(());
        }
        self.empty_frames += 1;
        if self.empty_frames > EMPTY_FRAMES {
            return Err(Refusal::EmptyFlood);
        }
        Ok(())
    }
}

// === impl Allowance ===

impl Allowance {
    fn new(left: u32, most: u32) -> Self {
        Self { left, most }
    }

    fn take(&mut self, count: u32, refusal: Refusal) -> Result<(), Refusal> {
        self.left = self.left.checked_sub(count).ok_or(refusal)?;
        Ok(())
    }

    fn refill(&mut self, count: u32) {
        self.left = self.left.saturating_add(count).min(self.most);
    }
}

/// Takes from the front of `bytes` what belongs to `left`.
fn skip(bytes: &mut &[u8], left: &mut usize) {
    let count = bytes.len().min(*left);
    *left -= count;
    *bytes = bytes.get(count..).unwrap_or_default();
}

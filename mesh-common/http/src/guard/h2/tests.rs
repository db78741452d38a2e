//! Floods end, and clients that work do not look like one.

use super::*;

const PREFACE_BYTES: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn opened() -> Guard {
    let mut guard = Guard::default();
    guard.read(PREFACE_BYTES).unwrap();
    guard.read(&frame(SETTINGS, 0, 0, b"")).unwrap();
    guard
}

/// How many of these frames are taken before they are a flood.
fn taken(guard: &mut Guard, mut next: impl FnMut(u32) -> Vec<u8>) -> (u32, Refusal) {
    for count in 0..100_000 {
        if let Err(refusal) = guard.read(&next(count)) {
            return (count, refusal);
        }
    }
    panic!("no flood was seen");
}

/// A whole request, and its answer of one DATA frame with the client's updates.
fn request(guard: &mut Guard, stream: u32) {
    guard
        .read(&frame(HEADERS, END_HEADERS | END_STREAM, stream, b"\x82"))
        .unwrap();
    guard.sent_data(1);
    guard.read(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0])).unwrap();
    guard
        .read(&frame(WINDOW_UPDATE, 0, stream, &[0, 0, 1, 0]))
        .unwrap();
}

#[test]
fn frames_are_found_however_they_come() {
    let mut bytes = PREFACE_BYTES.to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[0; 18]));
    bytes.extend(frame(HEADERS, END_HEADERS, 1, b"\x82\x84"));
    for _ in 0..3 {
        bytes.extend(frame(DATA, 0, 1, b""));
    }
    for size in 1..bytes.len() {
        let mut guard = Guard::default();
        let result = bytes.chunks(size).try_for_each(|piece| guard.read(piece));
        assert_eq!(result, Err(Refusal::EmptyFlood), "in pieces of {size}");
        assert_eq!(guard.last_stream, 1);
    }
}

#[test]
fn floods_end() {
    let flood = |next: fn(u32) -> Vec<u8>| taken(&mut opened(), next);
    assert_eq!(
        flood(|_| frame(PING, 0, 0, &[0; 8])),
        (999, Refusal::ControlFlood)
    );
    assert_eq!(
        flood(|_| frame(SETTINGS, 0, 0, b"")),
        (999, Refusal::ControlFlood)
    );
    assert_eq!(
        flood(|_| frame(PRIORITY, 0, 1, &[0; 5])),
        (100, Refusal::PriorityFlood)
    );
    assert_eq!(
        flood(|_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        (5, Refusal::WindowFlood)
    );
    assert_eq!(flood(|_| frame(DATA, 0, 1, b"")), (1, Refusal::EmptyFlood));
    assert_eq!(
        flood(|_| frame(CONTINUATION, 0, 1, b"")),
        (1, Refusal::EmptyFlood)
    );
}

#[test]
fn settings_come_first() {
    for first in [
        frame(HEADERS, 5, 1, b"\x82"),
        frame(SETTINGS, ACK, 0, b""),
        frame(PING, 0, 0, &[0; 8]),
    ] {
        let mut guard = Guard::default();
        guard.read(PREFACE_BYTES).unwrap();
        assert_eq!(guard.read(&first), Err(Refusal::Preface));
    }
}

#[test]
fn frames_have_the_size_of_their_kind() {
    for (kind, flags, size) in [
        (RST_STREAM, 0, 3),
        (WINDOW_UPDATE, 0, 5),
        (SETTINGS, ACK, 6),
        (SETTINGS, 0, 7),
        (PING, 0, 9),
        (GOAWAY, 0, 7),
    ] {
        let frame = frame(kind, flags, 0, &vec![0; size]);
        assert_eq!(opened().read(&frame), Err(Refusal::FrameSize), "{kind} of {size}");
    }
    for (kind, flags, size) in [
        (SETTINGS, ACK, 0),
        (SETTINGS, 0, 12),
        (PING, 0, 8),
        (GOAWAY, 0, 20),
        (0x16, 0, 3),
    ] {
        assert_eq!(opened().read(&frame(kind, flags, 0, &vec![0; size])), Ok(()));
    }
}

#[test]
fn rapid_reset_ends() {
    let reset = |count: u32| {
        let stream = 2 * count + 1;
        let mut both = frame(HEADERS, END_HEADERS | END_STREAM, stream, b"\x82");
        both.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        both
    };
    assert_eq!(taken(&mut opened(), reset), (500, Refusal::ResetFlood));
}

#[test]
fn who_gives_up_half_of_its_requests_goes_on() {
    let mut guard = opened();
    for stream in (1..100_000).step_by(4) {
        request(&mut guard, stream);
        request(&mut guard, stream + 2);
        guard
            .read(&frame(RST_STREAM, 0, stream + 2, &[0, 0, 0, 8]))
            .unwrap();
    }
}

#[test]
fn streams_that_have_lived_may_be_reset() {
    let mut guard = opened();
    for round in 0..50_u32 {
        for stream in 0..100 {
            request(&mut guard, 2 * (round * 100 + stream) + 1);
        }
        guard.passed(1);
        guard.passed(1);
        for stream in 0..100 {
            let reset = frame(RST_STREAM, 0, 2 * (round * 100 + stream) + 1, &[0, 0, 0, 8]);
            guard.read(&reset).unwrap();
        }
    }
}

#[test]
fn clients_that_work_go_on() {
    let mut guard = opened();
    for stream in (1..1_000_000).step_by(2) {
        request(&mut guard, stream);
        guard.read(&frame(PING, 0, 0, &[0; 8])).unwrap();
    }
    // An upload of one stream, with an empty frame at its end.
    guard
        .read(&frame(HEADERS, END_HEADERS, 1_000_001, b"\x82"))
        .unwrap();
    for _ in 0..10_000 {
        guard.read(&frame(DATA, 0, 1_000_001, &[0; 100])).unwrap();
    }
    guard.read(&frame(DATA, END_STREAM, 1_000_001, b"")).unwrap();
    // A day of probes, one a second.
    for _ in 0..86_400 {
        guard.passed(1);
        guard.read(&frame(PING, 0, 0, &[0; 8])).unwrap();
    }
}

#[test]
fn an_allowance_does_not_pile_up() {
    let floods = [
        frame(PING, 0, 0, &[0; 8]),
        frame(PRIORITY, 0, 1, &[0; 5]),
        frame(WINDOW_UPDATE, 0, 1, &[0; 4]),
    ];
    for flood in floods {
        let mut guard = opened();
        for stream in (1..100_000).step_by(2) {
            request(&mut guard, stream);
        }
        guard.passed(u32::MAX);
        guard.sent_data(u32::MAX);
        assert_eq!(taken(&mut guard, |_| flood.clone()).0, MOST);
    }
}

#[test]
fn tells_when_a_head_is_waited_for() {
    let mut guard = Guard::default();
    assert!(guard.is_in_head());
    guard.read(PREFACE_BYTES).unwrap();
    assert!(guard.is_in_head());
    guard.read(&frame(SETTINGS, 0, 0, b"")).unwrap();
    assert!(!guard.is_in_head());
    guard.read(&frame(HEADERS, 0, 1, b"\x82")).unwrap();
    assert!(guard.is_in_head());
    guard
        .read(&frame(CONTINUATION, END_HEADERS, 1, b"\x84")[..9])
        .unwrap();
    assert!(guard.is_in_head());
    guard.read(b"\x84").unwrap();
    assert!(!guard.is_in_head());
    // Content may come as slowly as it likes; a frame's own head may not.
    guard.read(&frame(DATA, 0, 1, b"ab")[..10]).unwrap();
    assert!(!guard.is_in_head());
    guard.read(b"b\0").unwrap();
    assert!(guard.is_in_head());
}

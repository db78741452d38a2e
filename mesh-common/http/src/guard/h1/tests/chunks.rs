//! Chunked content and its trailers.

use super::*;

fn chunked(content: &str) -> String {
    with("Transfer-Encoding: Chunked\r\n") + content
}

#[track_caller]
fn breaks(content: &str, refusal: Refusal) {
    let (released, end) = whole(&chunked(content));
    assert!(released.starts_with(&chunked("")), "{content:?}");
    assert_eq!(end, Err(refusal), "{content:?}");
}

#[test]
fn chunks_go_on() {
    passes(&chunked("5\r\nabcde\r\n0\r\n\r\n"), Position::Idle);
    passes(
        &(chunked("0005;a=b; c=\"d\"\r\nabcde\r\n1\r\na\r\n0\r\n\r\n") + &with("")),
        Position::Idle,
    );
    passes(
        &chunked("A\r\n0123456789\r\n000\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n"),
        Position::Idle,
    );
    passes(&chunked("5\r\nabc"), Position::Content);
    passes(&chunked(""), Position::Content);
}

#[test]
fn chunk_framing_is_strict() {
    for line in ["", " 5", "5 ", "+5", "-5", "0x5", "g", ";a", "5\t", "5 ;a", "5,"] {
        breaks(&format!("{line}\r\nabcde\r\n"), Refusal::ChunkSize);
    }
    breaks("5\nabcde\r\n", Refusal::ChunkSize);
    breaks("5\rabcde\r\n", Refusal::ChunkSize);
    breaks("5;a\nabcde\r\n", Refusal::ChunkSize);
    breaks("5;a\0\r\nabcde\r\n", Refusal::ChunkSize);
    breaks("10000000000000000\r\n", Refusal::ChunkSize);
    breaks("8000000000000000\r\n", Refusal::ChunkSize);
    breaks("00000000000000005\r\n", Refusal::ChunkSize);
    breaks("5\r\nabcdef\r\n", Refusal::ChunkEnd);
    breaks("5\r\nabcde\n5\r\n", Refusal::ChunkEnd);
    breaks("5\r\nabcde\r5\r\n", Refusal::ChunkEnd);
    breaks("3\r\nabcde\r\n", Refusal::ChunkEnd);
    passes(&chunked("7fffffffffffffff\r\n"), Position::Content);
}

#[test]
fn chunk_extensions_have_limits() {
    let extended = |length: usize| format!("1;{}\r\na\r\n", "x".repeat(length - 1));
    for (content, end) in [
        (extended(16_000), Ok(Position::Content)),
        (extended(16_001), Err(Refusal::ChunkOverhead)),
        (extended(1600).repeat(10), Ok(Position::Content)),
        (extended(1600).repeat(11), Err(Refusal::ChunkOverhead)),
        ("1\r\na\r\n".repeat(100_000), Ok(Position::Content)),
    ] {
        assert_eq!(whole_once(&chunked(&content)).1, end);
    }
}

fn whole_once(text: &str) -> (Vec<u8>, Result<Position, Refusal>) {
    read(&mut Guard::new(LIMITS), text.as_bytes(), 1500)
}

#[test]
fn trailers_are_strict() {
    for trailer in [
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Host: b",
        "X",
        "X : a",
        " X: a",
        ": a",
        "Cookie: a=b",
    ] {
        breaks(&format!("0\r\n{trailer}\r\n\r\n"), Refusal::Trailers);
    }
    breaks("0\r\nX: a\n\r\n", Refusal::BareLf);
    breaks("0\r\nX: a\rb\r\n\r\n", Refusal::ControlCharacter);
    breaks(
        &format!("0\r\nX: {}\r\n\r\n", "a".repeat(1024)),
        Refusal::TrailersTooLarge,
    );
    breaks(
        &format!("0\r\n{}\r\n", "X: a\r\n".repeat(9)),
        Refusal::TrailersTooLarge,
    );
}

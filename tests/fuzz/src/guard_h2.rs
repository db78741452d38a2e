//! The count of HTTP/2's frames: it does not depend on the pieces in which they come, and never ends but in a refusal.

use mesh_http::guard::Refusal;
use mesh_http::guard::h2::Guard;

/// The first byte says how much is sent in between; the others are what comes behind the preface of a connection.
pub fn check(bytes: &[u8]) {
    let (first, frames) = bytes.split_first().unwrap_or((&0, &[]));
    let sent = u32::from(*first);
    let once = read(frames, frames.len().max(1), sent);
    for size in [1, 9, 64] {
        assert_eq!(read(frames, size, sent), once, "in pieces of {size}");
    }
}

/// How it ends, and whether in the midst of a head.
fn read(frames: &[u8], size: usize, sent: u32) -> (Result<(), Refusal>, bool) {
    let mut guard = Guard::default();
    guard.read(mesh_http::detect::PREFACE).unwrap();
    guard.sent_data(sent);
    guard.passed(sent);
    for piece in frames.chunks(size) {
        if let Err(refusal) = guard.read(piece) {
            return (Err(refusal), false);
        }
    }
    (Ok(()), guard.is_in_head())
}

//! What HTTP/2 frames that were read and are not yet taken may cost beyond their content.
//!
//! h2 counts up to 256 bytes for each small DATA frame that waits, and ends the whole connection when they are more than its
//! budget. By default that is half of the connection's window: a few thousand small messages that one slow reader leaves
//! waiting would end everything beside them. Their number is bounded by the windows all the same.

/// For each byte of a connection's window. This lets a whole window wait in messages of 28 bytes, at about 128 bytes of
/// memory each.
const OVERHEAD: usize = 8;

/// h2's `data_frame_budget` for a connection with this window.
pub fn data_frames(connection_window: u32) -> usize {
    usize::try_from(connection_window)
        .unwrap_or(usize::MAX)
        .saturating_mul(OVERHEAD)
}

//! The terminal's size, asked of the kernel.

use std::os::fd::AsFd;

/// What is taken for a terminal that does not say: a VT100's.
const DEFAULT_LINES: usize = 24;

/// How many lines it has.
pub(crate) fn lines(terminal: impl AsFd) -> usize {
    match rustix::termios::tcgetwinsize(terminal) {
        Ok(size) if size.ws_row > 0 => usize::from(size.ws_row),
        _ => DEFAULT_LINES,
    }
}

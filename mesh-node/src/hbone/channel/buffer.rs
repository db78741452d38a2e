//! Buffers for bytes that are on their way, borrowed from the thread: a tunnel without traffic has none.

use std::cell::RefCell;

/// Bytes of a buffer: four records of TLS as large as they come (RFC 8446 §5.2), and a part of a fifth. Fewer bytes in a
/// system call cost more of them; more no longer fit a core's cache beside what else they are copied to.
pub(super) const SIZE: usize = 68 * 1024;
/// Buffers that a thread keeps for the next use; one tunnel has three at most, and most of them give theirs back before the next
/// is served.
const KEPT: usize = 4;
/// Bytes left free for what TLS says of itself: an alert, or new keys.
const RESERVE: usize = 1024;

thread_local! {
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes in the order of their arrival. Has memory only while there are some.
#[derive(Default)]
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

// === impl Buffer ===

impl Buffer {
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// What is in it.
    pub(super) fn filled(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// Room behind it, to be told of with [`Self::added`]. All there is, when nothing is in it.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.bytes.is_empty() {
            // None, too, when the thread is about to end.
            let spare = SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
            self.bytes = spare.unwrap_or_else(|| vec![0; SIZE].into_boxed_slice());
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// Whether there is room for `count` bytes, and then for an alert.
    pub(super) fn has_room(&mut self, count: usize) -> bool {
        self.room().len() >= count + RESERVE
    }

    /// Says that the first `count` bytes of the room are used.
    pub(super) fn added(&mut self, count: usize) {
        self.end = self.bytes.len().min(self.end + count);
    }

    /// As much of `bytes` as there is room for, and no more than `limit` in all; how much that was.
    pub(super) fn append(&mut self, bytes: &[u8], limit: usize) -> usize {
        let limit = limit.saturating_sub(self.len());
        let room = self.room();
        let count = bytes.len().min(room.len()).min(limit);
        if let (Some(room), Some(bytes)) = (room.get_mut(..count), bytes.get(..count)) {
            room.copy_from_slice(bytes);
        }
        self.added(count);
        count
    }

    /// Forgets the first `count` bytes.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Moves what is in it to the front, so that the room is as large as can be.
    pub(super) fn compact(&mut self) {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
    }

    /// Gives the memory back when there is nothing in it.
    pub(super) fn give_back(&mut self) {
        if self.is_empty() && !self.bytes.is_empty() {
            let bytes = std::mem::take(&mut self.bytes);
            // Freed when the thread is about to end.
            let _kept = SPARE.try_with(|spare| {
                let mut spare = spare.borrow_mut();
                if spare.len() < KEPT {
                    spare.push(bytes);
                }
            });
        }
    }
    /// Whether it has no memory.
    #[cfg(test)]
    pub(super) fn holds_nothing(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.clear();
        self.give_back();
    }
}

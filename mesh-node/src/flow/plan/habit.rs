//! Who speaks first at a port, as far as the last connection told: the next one will most likely be like it.

use std::sync::atomic::{AtomicU8, Ordering};

/// Who spoke first on the last connection for which that had to be found out.
#[derive(Debug, Default)]
pub struct Habit(AtomicU8);

/// Who speaks first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// It is not known.
    Unknown,
    /// The client.
    Client,
    /// The server.
    Server,
}

// === impl Habit ===

impl Habit {
    /// Who did the last time.
    pub fn get(&self) -> First {
        match self.0.load(Ordering::Relaxed) {
            1 => First::Client,
            2 => First::Server,
            _ => First::Unknown,
        }
    }

    /// Who does this time. Written only when it changes: the cores share it.
    pub fn set(&self, first: First) {
        if self.get() != first {
            self.0.store(first as u8, Ordering::Relaxed);
        }
    }
}

impl Clone for Habit {
    fn clone(&self) -> Self {
        Self(self.0.load(Ordering::Relaxed).into())
    }
}

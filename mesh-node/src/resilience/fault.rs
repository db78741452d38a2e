//! Faults to inject: drawing whether a request is hit.

use mesh_model::Fault;

/// Draws are of so many.
const DENOMINATOR: u32 = 1_000_000;

/// Draws whether a fault hits a request.
#[derive(Debug)]
pub struct FaultInjector {
    per_million: u32,
}

// === impl FaultInjector ===

impl FaultInjector {
    /// For one fault. What it matches and does is the caller's.
    pub fn new(fault: &Fault) -> Self {
        Self {
            per_million: fault.per_million,
        }
    }

    /// Whether this request is hit. Each draw is on its own: there is no state to carry over when settings change.
    pub fn draw(&self) -> bool {
        fastrand::u32(..DENOMINATOR) < self.per_million
    }
}

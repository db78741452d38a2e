//! Waiting for a condition, always with a deadline.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The pause between two looks at a condition: short against a process start (10 ms and more), long against a
/// system call.
const PAUSE: Duration = Duration::from_millis(5);

/// Asks `look` until it gives a value, an error, or `deadline` has passed. `what` names the awaited in the error.
pub fn until<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = look()? {
            return Ok(value);
        }
        if Instant::now() >= end {
            bail!("waited {deadline:?} in vain for {what}");
        }
        thread::sleep(PAUSE);
    }
}

/// As [`until`], for a condition without a value.
pub fn until_true(what: &str, deadline: Duration, mut look: impl FnMut() -> bool) -> Result<()> {
    until(what, deadline, || Ok(look().then_some(())))
}

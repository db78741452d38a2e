//! A wait with a deadline that starts when it is first polled, and costs nothing before.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// A wait for one of several things.
#[derive(Debug)]
pub(in crate::l7) struct Wait<T> {
    sleep: Option<Pin<Box<Sleep>>>,
    waited_for: Option<T>,
}

// === impl Wait ===

impl<T> Default for Wait<T> {
    fn default() -> Self {
        Self {
            sleep: None,
            waited_for: None,
        }
    }
}

impl<T: PartialEq> Wait<T> {
    /// Ready when it has been waited for `thing` for `limit`, without a stop or a wait for another in between.
    pub(in crate::l7) fn poll(&mut self, thing: T, limit: Duration, context: &mut Context<'_>) -> Poll<()> {
        let is_new = self.waited_for.as_ref() != Some(&thing);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(limit)));
        if is_new {
            sleep.as_mut().reset(Instant::now() + limit);
            self.waited_for = Some(thing);
        }
        sleep.as_mut().poll(context)
    }

    /// It has come.
    pub(in crate::l7) fn stop(&mut self) {
        self.waited_for = None;
    }
}

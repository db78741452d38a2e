//! Stopping in order: a stop signal, a notice to everybody who works, and a count of the work in progress.
//!
//! One [`Trigger`] stops; any number of [`Drain`] clones watch and hand out [`Guard`]s. Work that should be
//! allowed to finish holds a guard, and [`Trigger::drain`] waits for the guards, never longer than its deadline.
//! Taking and dropping a guard costs two atomic operations: it may be done for each connection.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};

/// Starts the drain. Dropping it counts as a stop, so that nobody waits for a notice that can't come.
#[derive(Debug)]
pub struct Trigger {
    stop: watch::Sender<bool>,
    work: Arc<Work>,
}

/// Watches for the stop, and counts work in progress. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Drain {
    stop: watch::Receiver<bool>,
    work: Arc<Work>,
}

/// A piece of work in progress; dropping it ends the work.
#[derive(Debug)]
pub struct Guard {
    work: Arc<Work>,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Guards still held when the deadline passed; 0 when all work had ended.
    pub left: usize,
}

/// SIGTERM and SIGINT, caught from the moment this exists.
#[derive(Debug)]
pub struct StopSignal {
    terminate: Signal,
    interrupt: Signal,
}

#[derive(Debug, Default)]
struct Work {
    guards: AtomicUsize,
    ended: Notify,
}

/// A trigger and its first watcher.
pub fn channel() -> (Trigger, Drain) {
    let (sender, receiver) = watch::channel(false);
    let work = Arc::new(Work::default());
    (
        Trigger {
            stop: sender,
            work: Arc::clone(&work),
        },
        Drain { stop: receiver, work },
    )
}

impl Trigger {
    /// Tells every watcher to stop taking new work.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Stops, then waits until no guard is left or `deadline` has passed. The caller drops what is left.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        self.stop();
        let ended = async {
            loop {
                let mut ended = pin!(self.work.ended.notified());
                // Registered before the count is read: an end in between is not missed.
                ended.as_mut().enable();
                if self.work.guards.load(Ordering::Acquire) == 0 {
                    return;
                }
                ended.await;
            }
        };
        match tokio::time::timeout(deadline, ended).await {
            Ok(()) => Drained { left: 0 },
            Err(_) => Drained {
                left: self.work.guards.load(Ordering::Acquire),
            },
        }
    }
}

impl Drain {
    /// Waits for the stop.
    pub async fn stopping(&self) {
        // An error means that the trigger is gone, which counts as a stop.
        drop(self.stop.clone().wait_for(|stop| *stop).await);
    }

    /// Whether the stop has come.
    pub fn is_stopping(&self) -> bool {
        *self.stop.borrow() || self.stop.has_changed().is_err()
    }

    /// Counts a piece of work until the guard is dropped. Also given while stopping: whoever accepts work checks
    /// `is_stopping` first.
    pub fn guard(&self) -> Guard {
        self.work.guards.fetch_add(1, Ordering::AcqRel);
        Guard {
            work: Arc::clone(&self.work),
        }
    }

    /// How many guards are held now.
    pub fn in_progress(&self) -> usize {
        self.work.guards.load(Ordering::Acquire)
    }
}

impl Clone for Guard {
    fn clone(&self) -> Self {
        self.work.guards.fetch_add(1, Ordering::AcqRel);
        Self {
            work: Arc::clone(&self.work),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.work.guards.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.work.ended.notify_waiters();
        }
    }
}

impl StopSignal {
    /// Catches the signals. Inside a tokio runtime with I/O enabled only.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the first signal and returns its name. May be called again, for a second signal that means now.
    pub async fn received(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_for_the_last_guard() {
        let (trigger, drain) = channel();
        let guard = drain.guard();
        let second = guard.clone();
        assert!(!drain.is_stopping());

        let work = async {
            drain.stopping().await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            drop(guard);
            tokio::time::sleep(Duration::from_secs(3)).await;
            drop(second);
        };
        let start = tokio::time::Instant::now();
        let (drained, ()) = tokio::join!(trigger.drain(Duration::from_mins(1)), work);
        assert_eq!(drained, Drained { left: 0 });
        assert_eq!(start.elapsed(), Duration::from_secs(6));
        assert!(drain.is_stopping());
    }

    #[tokio::test(start_paused = true)]
    async fn tells_what_is_left_at_the_deadline() {
        let (trigger, drain) = channel();
        let _held = [drain.guard(), drain.guard()];
        assert_eq!(trigger.drain(Duration::from_secs(10)).await, Drained { left: 2 });
    }

    #[tokio::test(start_paused = true)]
    async fn does_not_wait_without_work() {
        let (trigger, drain) = channel();
        drop(drain.guard());
        let start = tokio::time::Instant::now();
        assert_eq!(trigger.drain(Duration::from_secs(10)).await, Drained { left: 0 });
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_dropped_trigger_stops() {
        let (trigger, drain) = channel();
        drop(trigger);
        drain.stopping().await;
        assert!(drain.is_stopping());
    }
}

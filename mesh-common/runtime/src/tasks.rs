//! Owned tasks: the only place where the process spawns one.
//!
//! [`Tasks`] owns the few long-lived tasks of a part of the process and aborts them when it is dropped.
//! [`spawn_guarded`] is for the many short ones, one for each connection: its owner is the drain guard it carries.
//! Either way a panic or an abort is logged under the task's name and never lost.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle};

use crate::drain::Guard;

/// Long-lived tasks with one owner. For tens of tasks: spawning looks through those that have ended.
#[derive(Debug, Default)]
pub struct Tasks {
    running: Mutex<Vec<(&'static str, JoinHandle<()>)>>,
}

pin_project! {
    /// A task, and what it holds until its end. By hand: an async block around a future holds it twice, and there is one of
    /// these for each connection. Dropped in this order: what is held goes last.
    struct Watched<F, K> {
        #[pin]
        future: F,
        watch: Watch,
        held: K,
    }
}

/// Logs how a task ended. Lives inside the task's future, so it needs no allocation.
struct Watch {
    name: &'static str,
    completed: bool,
}

/// Runs `future` on the current runtime until it ends. Nobody can abort it, so it must end by itself: it carries
/// `guard`, and a drain counts it and reports it when it is still there at the deadline. No allocation beyond
/// tokio's own, and no lock.
#[track_caller]
pub fn spawn_guarded(name: &'static str, guard: Guard, future: impl Future<Output = ()> + Send + 'static) {
    spawn_guarded_on(&Handle::current(), name, guard, (), future);
}

/// [`spawn_guarded`], on the runtime of `handle`; also keeps what is to be `held` until the end.
#[track_caller]
pub fn spawn_guarded_on(
    handle: &Handle,
    name: &'static str,
    guard: Guard,
    held: impl Send + 'static,
    future: impl Future<Output = ()> + Send + 'static,
) {
    drop(spawn(handle, Watched::new(name, (guard, held), future)));
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `future` on the current runtime until it ends or this owner is dropped. The abort handle ends it
    /// earlier.
    #[track_caller]
    pub fn spawn(
        &self,
        name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        self.spawn_on(&Handle::current(), name, future)
    }

    /// [`Tasks::spawn`], on the runtime of `handle`.
    pub fn spawn_on(
        &self,
        handle: &Handle,
        name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        let task = spawn(handle, Watched::new(name, (), future));
        let abort = task.abort_handle();
        let mut running = self.running.lock();
        running.retain(|(_, task)| !task.is_finished());
        running.push((name, task));
        abort
    }

    /// The names of the tasks that have not ended.
    pub fn running(&self) -> Vec<&'static str> {
        self.running
            .lock()
            .iter()
            .filter(|(_, task)| !task.is_finished())
            .map(|(name, _)| *name)
            .collect()
    }

    /// Waits until every task has ended; aborts those that have not when `deadline` passes, and returns their
    /// names.
    pub async fn join(&self, deadline: Duration) -> Vec<&'static str> {
        let end = tokio::time::Instant::now() + deadline;
        let tasks = std::mem::take(&mut *self.running.lock());
        let mut aborted = Vec::new();
        for (name, mut task) in tasks {
            if tokio::time::timeout_at(end, &mut task).await.is_err() {
                task.abort();
                aborted.push(name);
            }
        }
        aborted
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        for (_, task) in self.running.get_mut().drain(..) {
            task.abort();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(
                task = self.name,
                "task panicked; what it did is not being done any more"
            );
        } else if !self.completed {
            tracing::debug!(task = self.name, "task aborted");
        }
    }
}

// === impl Watched ===

impl<F, K> Watched<F, K> {
    fn new(name: &'static str, held: K, future: F) -> Self {
        let watch = Watch {
            name,
            completed: false,
        };
        Self { future, watch, held }
    }
}

impl<F: Future<Output = ()>, K> Future for Watched<F, K> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        ready!(this.future.poll(context));
        this.watch.completed = true;
        tracing::trace!(task = this.watch.name, "task ended");
        Poll::Ready(())
    }
}

fn spawn(handle: &Handle, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    handle.spawn(task)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::sync::oneshot;

    use super::*;
    use crate::drain;

    const DEADLINE: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn joins_what_ends_and_aborts_what_does_not() {
        let tasks = Tasks::new();
        let (ended, end) = oneshot::channel();
        tasks.spawn("short", async move { ended.send(()).unwrap() });
        tasks.spawn("endless", pending());
        assert_eq!(tasks.running(), ["short", "endless"]);
        assert_eq!(tasks.join(DEADLINE).await, ["endless"]);
        end.await.unwrap();
        assert!(tasks.running().is_empty());
    }

    #[tokio::test]
    async fn aborts_when_the_owner_is_dropped() {
        let tasks = Tasks::new();
        let (held, released) = oneshot::channel::<()>();
        tasks.spawn("endless", async move {
            pending::<()>().await;
            drop(held);
        });
        tokio::task::yield_now().await;
        drop(tasks);
        assert!(tokio::time::timeout(DEADLINE, released).await.unwrap().is_err());
    }

    #[tokio::test]
    async fn forgets_what_has_ended() {
        let tasks = Tasks::new();
        for _ in 0..100 {
            tasks.spawn("short", async {});
            tokio::task::yield_now().await;
        }
        assert!(tasks.running.lock().len() < 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_guarded_task_is_counted_until_it_ends() {
        let (trigger, drain) = drain::channel();
        let (release, released) = oneshot::channel::<()>();
        spawn_guarded(
            "connection",
            drain.guard(),
            async move { released.await.unwrap() },
        );
        assert_eq!(trigger.drain(DEADLINE).await.left, 1);
        release.send(()).unwrap();
        assert_eq!(trigger.drain(DEADLINE).await.left, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_releases_the_guard() {
        let (trigger, drain) = drain::channel();
        spawn_guarded("connection", drain.guard(), async {
            panic!("deliberately, to see the guard go")
        });
        assert_eq!(trigger.drain(DEADLINE).await.left, 0);
    }
}

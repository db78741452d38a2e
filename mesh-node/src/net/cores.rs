//! The data plane's threads, and which of them a connection stays on.
//!
//! Each has a runtime of its own: a connection, its requests, and the connections that these are sent over live on one
//! thread, so that nothing wakes another core or waits for its locks. In return nothing moves to a thread with less to
//! do: connections are spread when they arrive, each to where the fewest of its kind are open.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mesh_runtime::drain::Guard;
use mesh_runtime::tasks;
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

thread_local! {
    static INDEX: Cell<usize> = const { Cell::new(0) };
}

/// The threads, as those see them who give them work. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cores(Arc<[Core]>);

/// The threads, as their owner sees them.
#[derive(Debug)]
pub struct Threads {
    stop: watch::Sender<bool>,
    running: Vec<(JoinHandle<()>, Receiver<()>)>,
}

/// What connections are counted apart by: each kind costs about the same among itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Opened by a local workload.
    Client,
    /// A tunnel from another node.
    Tunnel,
}

/// A connection's place on a thread; given up when dropped.
#[derive(Debug)]
pub struct Seat {
    cores: Arc<[Core]>,
    index: usize,
    kind: Kind,
}

#[derive(Debug)]
struct Core {
    handle: Handle,
    clients: AtomicUsize,
    tunnels: AtomicUsize,
}

/// Which of the data plane's threads is the calling one; 0 for every other.
pub fn current() -> usize {
    INDEX.get()
}

// === impl Threads ===

impl Threads {
    /// Starts so many.
    pub fn start(count: usize) -> io::Result<(Self, Cores)> {
        let (stop, stopped) = watch::channel(false);
        let mut threads = Self {
            stop,
            running: Vec::new(),
        };
        let mut cores = Vec::new();
        for index in 0..count.max(1) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            cores.push(Core {
                handle: runtime.handle().clone(),
                clients: AtomicUsize::new(0),
                tunnels: AtomicUsize::new(0),
            });
            let (is_running, running) = mpsc::sync_channel::<()>(0);
            let mut stopped = stopped.clone();
            let thread = thread::Builder::new()
                .name(format!("data-{index}"))
                .spawn(move || {
                    INDEX.set(index);
                    // An error means that the owner is gone, which is a stop as well.
                    drop(runtime.block_on(stopped.wait_for(|stop| *stop)));
                    // Tasks are dropped here, on their own thread.
                    drop(runtime);
                    drop(is_running);
                })?;
            threads.running.push((thread, running));
        }
        Ok((threads, Cores(cores.into())))
    }

    /// Drops every task, and waits for the threads to end, no longer than this.
    pub fn stop(self, deadline: Duration) {
        self.stop.send_replace(true);
        let end = Instant::now() + deadline;
        for (thread, running) in self.running {
            // Nothing is ever sent: the wait ends with the thread, or at the deadline.
            let left = end.saturating_duration_since(Instant::now());
            if running.recv_timeout(left) == Err(mpsc::RecvTimeoutError::Timeout) {
                tracing::error!(?deadline, "a thread of the data plane does not end");
            } else if thread.join().is_err() {
                tracing::error!("a thread of the data plane panicked");
            }
        }
    }
}

// === impl Cores ===

impl Cores {
    /// A place on the thread where the fewest connections of the kind are; the calling one if it is among these.
    pub fn seat(&self, kind: Kind) -> Seat {
        let load = |index: usize| self.0[index].open(kind).load(Ordering::Relaxed);
        let here = current();
        let index = (0..self.0.len())
            .min_by_key(|index| (load(*index), *index != here))
            .unwrap_or_default();
        self.0[index].open(kind).fetch_add(1, Ordering::Relaxed);
        Seat {
            cores: Arc::clone(&self.0),
            index,
            kind,
        }
    }

    /// The runtime for what is not worth a place: the same number gets the same one.
    pub fn runtime(&self, number: usize) -> &Handle {
        // In bounds: there is at least one.
        &self.0[number % self.0.len()].handle
    }
}

// === impl Seat ===

impl Seat {
    /// Runs `future` there, and keeps the place until it ends. As [`tasks::spawn_guarded`].
    #[track_caller]
    pub fn spawn(self, name: &'static str, guard: Guard, future: impl Future<Output = ()> + Send + 'static) {
        let handle = self.cores[self.index].handle.clone();
        tasks::spawn_guarded_on(&handle, name, guard, self, future);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.cores[self.index]
            .open(self.kind)
            .fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Core ===

impl Core {
    fn open(&self, kind: Kind) -> &AtomicUsize {
        match kind {
            Kind::Client => &self.clients,
            Kind::Tunnel => &self.tunnels,
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_runtime::drain;
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn connections_of_a_kind_are_spread_evenly() {
        let (threads, cores) = Threads::start(3).unwrap();
        let mut seats: Vec<Seat> = (0..7).map(|_| cores.seat(Kind::Client)).collect();
        let open = |kind| -> Vec<usize> {
            let count = |core: &Core| core.open(kind).load(Ordering::Relaxed);
            cores.0.iter().map(count).collect()
        };
        assert_eq!(open(Kind::Client), [3, 2, 2]);
        assert_eq!(open(Kind::Tunnel), [0, 0, 0]);
        let other = seats.iter().position(|seat| seat.index == 2).unwrap();
        drop(seats.swap_remove(other));
        assert_eq!(open(Kind::Client), [3, 2, 1]);
        assert_eq!(cores.seat(Kind::Client).index, 2);
        assert_eq!(
            cores.seat(Kind::Tunnel).index,
            0,
            "the calling thread counts as the first"
        );
        threads.stop(Duration::from_secs(5));
    }

    #[test]
    fn a_place_is_kept_for_as_long_as_its_task_runs_there() {
        let (threads, cores) = Threads::start(2).unwrap();
        let (_trigger, drain) = drain::channel();
        let first = cores.seat(Kind::Tunnel);
        let seat = cores.seat(Kind::Tunnel);
        assert_eq!((first.index, seat.index), (0, 1));
        let (tell, told) = oneshot::channel();
        let (release, released) = oneshot::channel::<()>();
        seat.spawn("test", drain.guard(), async move {
            tell.send(current()).unwrap();
            drop(released.await);
        });
        assert_eq!(told.blocking_recv().unwrap(), 1);
        assert_eq!(cores.0[1].tunnels.load(Ordering::Relaxed), 1);
        drop(release);
        while drain.in_progress() > 0 {
            thread::yield_now();
        }
        assert_eq!(cores.0[1].tunnels.load(Ordering::Relaxed), 0);
        threads.stop(Duration::from_secs(5));
    }

    #[test]
    fn stopping_drops_what_is_left() {
        let (threads, cores) = Threads::start(2).unwrap();
        let (_trigger, drain) = drain::channel();
        cores
            .seat(Kind::Client)
            .spawn("endless", drain.guard(), std::future::pending());
        assert_eq!(drain.in_progress(), 1);
        threads.stop(Duration::from_secs(5));
        assert_eq!(drain.in_progress(), 0);
    }
}

//! Lines of the log that are too many to be written one by one: each thread adds to a buffer of its own, and one thread writes
//! them all out, a few times a second. Who adds a line makes no system call and waits for nobody.
//!
//! Buffers are bounded: when standard error takes nothing, lines are left out and counted, and the data plane goes on. A
//! process that is killed loses the last fraction of a second.

use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::series::shard_of_thread;

/// How long a line may wait.
const PAUSE: Duration = Duration::from_millis(100);
/// A buffer of this size is written at once.
const WAKE: usize = 128 * 1024;
/// A buffer of this size takes no more: seven times what comes until it is written, even at thousands of lines a second.
const FULL: usize = 1024 * 1024;

/// Where the lines go.
pub(super) type Sink = Box<dyn Write + Send>;

/// The buffers and their writer.
pub(super) struct Lines {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

struct Shared {
    buffers: Box<[Buffer]>,
    /// With the memory of the last batch, for the next.
    sink: Mutex<(Sink, Vec<u8>)>,
    left_out: AtomicU64,
    /// Whether the writer is to go on at once, or to end.
    wake: Mutex<Wake>,
    wakes: Condvar,
    /// Whether it was told so already: spares the others the lock.
    is_awake: AtomicBool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wake {
    No,
    Write,
    End,
}

/// A thread's lines, on cache lines of their own.
#[derive(Default)]
#[repr(align(128))]
struct Buffer(Mutex<Vec<u8>>);

// === impl Lines ===

impl Lines {
    /// Starts the writer. `threads` of them add lines without waiting for each other.
    pub(super) fn start(threads: usize, sink: Sink) -> Self {
        let shared = Arc::new(Shared {
            buffers: (0..threads.max(1)).map(|_| Buffer::default()).collect(),
            sink: Mutex::new((sink, Vec::new())),
            left_out: AtomicU64::new(0),
            wake: Mutex::new(Wake::No),
            wakes: Condvar::new(),
            is_awake: AtomicBool::new(false),
        });
        let writer = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("access-log".to_owned())
                .spawn(move || shared.run())
        };
        let writer = writer
            .inspect_err(|error| {
                tracing::error!(%error, "cannot start the access log's thread: requests are not in the log");
            })
            .ok();
        Self { shared, writer }
    }

    /// Adds a line, with its end.
    pub(super) fn add(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let shared = &*self.shared;
        // In bounds: `shard_of_thread` gives less than the length, which is not 0.
        let mut buffer = shared.buffers[shard_of_thread(shared.buffers.len())].0.lock();
        if buffer.len() >= FULL {
            drop(buffer);
            shared.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        write(&mut buffer);
        let is_much = buffer.len() >= WAKE;
        drop(buffer);
        if is_much && !shared.is_awake.swap(true, Ordering::Relaxed) {
            shared.tell(Wake::Write);
        }
    }

    /// Lines that were left out.
    pub(super) fn left_out(&self) -> u64 {
        self.shared.left_out.load(Ordering::Relaxed)
    }

    /// Writes out what there is.
    pub(super) fn flush(&self) {
        self.shared.flush();
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.shared.tell(Wake::End);
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the access log's thread panicked");
        }
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lines({} left out)", self.left_out())
    }
}

// === impl Shared ===

impl Shared {
    fn run(&self) {
        let mut told = 0;
        loop {
            let mut wake = self.wake.lock();
            if *wake == Wake::No {
                self.wakes.wait_for(&mut wake, PAUSE);
            }
            let is_end = *wake == Wake::End;
            *wake = Wake::No;
            drop(wake);
            self.is_awake.store(false, Ordering::Relaxed);
            self.flush();
            let left_out = self.left_out.load(Ordering::Relaxed);
            if left_out > told {
                tracing::warn!(
                    lines = left_out - told,
                    "standard error does not keep up: lines of the access log are left out"
                );
                told = left_out;
            }
            if is_end {
                return;
            }
        }
    }

    fn tell(&self, what: Wake) {
        *self.wake.lock() = what;
        self.wakes.notify_one();
    }

    fn flush(&self) {
        let mut held = self.sink.lock();
        let (sink, batch) = &mut *held;
        for buffer in &self.buffers {
            std::mem::swap(&mut *buffer.0.lock(), batch);
            // Where standard error goes nowhere, there is nobody to tell.
            drop(sink.write_all(batch));
            batch.clear();
            // Of a burst, no more than what lines come into at most times.
            batch.shrink_to(WAKE);
        }
        drop(sink.flush());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Lets a batch through for each permit.
    struct Slow(mpsc::Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if !bytes.is_empty() {
                self.0.recv().ok();
                self.1.lock().extend_from_slice(bytes);
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn line(buffer: &mut Vec<u8>, text: &str) {
        buffer.extend_from_slice(text.as_bytes());
        buffer.push(b'\n');
    }

    #[test]
    fn every_threads_lines_are_written_whole_and_in_order() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let (permits, slow) = mpsc::sync_channel(1);
        drop(permits);
        let lines = Lines::start(4, Box::new(Slow(slow, Arc::clone(&written))));
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let lines = &lines;
                scope.spawn(move || {
                    (0..1000).for_each(|n| lines.add(|buffer| line(buffer, &format!("{thread} {n}"))));
                });
            }
        });
        drop(lines);
        let text = String::from_utf8(written.lock().clone()).unwrap();
        assert_eq!(text.lines().count(), 8000);
        for thread in 0..8 {
            let mine = text
                .lines()
                .filter_map(|line| line.strip_prefix(&format!("{thread} ")));
            assert!(mine.map(|n| n.parse::<u32>().unwrap()).eq(0..1000));
        }
    }

    #[test]
    fn a_writer_that_is_stuck_holds_nobody_up_and_what_is_left_out_is_counted() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let (permits, slow) = mpsc::sync_channel(1);
        let lines = Lines::start(1, Box::new(Slow(slow, Arc::clone(&written))));
        let long = "x".repeat(1023);
        for _ in 0..10_000 {
            lines.add(|buffer| line(buffer, &long));
        }
        let left_out = lines.left_out();
        assert!(
            left_out > 7_000,
            "10 MB do not fit, but only {left_out} lines were left out"
        );
        drop(permits);
        drop(lines);
        let text = String::from_utf8(written.lock().clone()).unwrap();
        assert_eq!(text.lines().count() as u64 + left_out, 10_000);
        assert!(text.lines().all(|line| line == long));
    }
}

//! What is counted of the thread under measurement beside its instructions: allocations, system calls, and readings of the
//! clock.
//!
//! Its clock is ours: it goes on by the same amount at each reading, and by more for each request, so that timers and rates
//! do the same work in every run, however slow the machine. Other threads have the true one.

#![expect(
    unsafe_code,
    reason = "an allocator and a function of the C library can be stood in for in no other way"
)]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};

use tikv_jemallocator::Jemalloc;

/// Nanoseconds between two readings of the clock.
const BETWEEN_READINGS: u64 = 100;
/// Nanoseconds that a request takes: about what it does on a busy core.
const REQUEST: u64 = 50_000;
const SECOND: u64 = 1_000_000_000;

/// What was counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    /// Calls of the allocator for memory; one that makes a piece larger is one, too.
    pub allocations: u64,
    /// Bytes that were asked for.
    pub allocated: u64,
    /// Readings of the clock.
    pub clock_readings: u64,
    /// Calls of the kernel that read, write, or wait for that.
    pub system_calls: u64,
}

/// mesh-node's allocator, with a count.
pub(crate) struct Counting;

const NOTHING: Tally = Tally {
    allocations: 0,
    allocated: 0,
    clock_readings: 0,
    system_calls: 0,
};

thread_local! {
    static IS_COUNTING: Cell<bool> = const { Cell::new(false) };
    static TALLY: Cell<Tally> = const { Cell::new(NOTHING) };
    /// Nanoseconds since the thread got its own clock; 0: it has not.
    static NOW: Cell<u64> = const { Cell::new(0) };
}

/// What the clocks showed when the thread got its own, in nanoseconds.
static MONOTONIC: AtomicU64 = AtomicU64::new(0);
static REAL: AtomicU64 = AtomicU64::new(0);

/// From now on the calling thread's time is ours. For one thread of the process.
pub(crate) fn take_over_clock() {
    MONOTONIC.store(true_time(libc::CLOCK_MONOTONIC), Ordering::Relaxed);
    REAL.store(true_time(libc::CLOCK_REALTIME), Ordering::Relaxed);
    NOW.set(1);
}

/// A request has been answered: time goes on.
pub(crate) fn answered() {
    NOW.set(NOW.get() + REQUEST);
}

/// Counts what the thread does from now on, or no longer; says whether it was counted.
pub(crate) fn count(is_counting: bool) -> bool {
    IS_COUNTING.replace(is_counting)
}

/// The counts so far.
pub(crate) fn counted() -> Tally {
    TALLY.get()
}

fn note(change: impl FnOnce(&mut Tally)) {
    if IS_COUNTING.get() {
        let mut tally = TALLY.get();
        change(&mut tally);
        TALLY.set(tally);
    }
}

fn allocated(bytes: usize) {
    note(|tally| {
        tally.allocations += 1;
        tally.allocated += bytes as u64;
    });
}

// SAFETY: every call goes to the allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        allocated(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { Jemalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        allocated(layout.size());
        // SAFETY: likewise.
        unsafe { Jemalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: likewise.
        unsafe { Jemalloc.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        allocated(size);
        // SAFETY: likewise.
        unsafe { Jemalloc.realloc(pointer, layout, size) }
    }
}

fn true_time(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes one timespec, which is ours.
    unsafe { libc::syscall(libc::SYS_clock_gettime, clock, &raw mut time) };
    let part = |number: i64| u64::try_from(number).unwrap_or_default();
    part(time.tv_sec) * SECOND + part(time.tv_nsec)
}

/// Stands in for the C library's function of this name in the whole program.
///
/// # Safety
/// As the C library's: `time` points to a timespec that may be written.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    let start = match clock {
        libc::CLOCK_MONOTONIC | libc::CLOCK_MONOTONIC_COARSE | libc::CLOCK_BOOTTIME => &MONOTONIC,
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => &REAL,
        _ => return from_kernel(clock, time),
    };
    let now = NOW.get();
    if now == 0 {
        return from_kernel(clock, time);
    }
    NOW.set(now + BETWEEN_READINGS);
    note(|tally| tally.clock_readings += 1);
    let shown = start.load(Ordering::Relaxed) + now;
    let part = |number: u64| i64::try_from(number).unwrap_or_default();
    let value = libc::timespec {
        tv_sec: part(shown / SECOND),
        tv_nsec: part(shown % SECOND),
    };
    // SAFETY: the caller promises that it may be written.
    unsafe { time.write(value) };
    0
}

fn from_kernel(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    // SAFETY: the arguments are those of `clock_gettime`, whose caller's promises are passed on.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
    c_int::try_from(result).unwrap_or(-1)
}

/// Stands in for functions of the C library that are a system call each.
macro_rules! system_calls {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty = $number:ident $(, $more:expr)*;)*) => {$(
        /// # Safety
        /// As the C library's function of this name.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $type),*) -> $result {
            note(|tally| tally.system_calls += 1);
            // SAFETY: the arguments are those of the system call, and the caller's promises are passed on.
            let result = unsafe { libc::syscall(libc::$number, $($argument,)* $($more,)*) };
            <$result>::try_from(result).unwrap_or(-1)
        }
    )*};
}

system_calls! {
    read(file: c_int, bytes: *mut c_void, length: usize) -> isize = SYS_read;
    write(file: c_int, bytes: *const c_void, length: usize) -> isize = SYS_write;
    readv(file: c_int, parts: *const libc::iovec, count: c_int) -> isize = SYS_readv;
    writev(file: c_int, parts: *const libc::iovec, count: c_int) -> isize = SYS_writev;
    recv(file: c_int, bytes: *mut c_void, length: usize, flags: c_int) -> isize = SYS_recvfrom, 0usize, 0usize;
    send(file: c_int, bytes: *const c_void, length: usize, flags: c_int) -> isize = SYS_sendto, 0usize, 0usize;
    sendmsg(file: c_int, message: *const libc::msghdr, flags: c_int) -> isize = SYS_sendmsg;
    epoll_wait(file: c_int, events: *mut libc::epoll_event, count: c_int, timeout: c_int) -> c_int = SYS_epoll_wait;
}

//! One world for all tests of a suite: made by the first, used by one at a time, and shown by the one that fails.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use anyhow::Result;

/// Something whose state a failing test should show.
pub trait Report {
    /// What a reader of the failure needs: the ends of logs, mostly.
    fn report(&self) -> String;
}

/// A world, made when first asked for. It is never dropped, as statics are not: the harness's guard process removes
/// what it made when the test program ends.
#[derive(Debug)]
pub struct Turns<T> {
    make: fn() -> Result<T>,
    world: OnceLock<Mutex<T>>,
}

/// One test's turn.
#[derive(Debug)]
pub struct Turn<'a, T: Report> {
    world: MutexGuard<'a, T>,
}

impl<T: Report> Turns<T> {
    /// Nothing is made yet.
    pub const fn new(make: fn() -> Result<T>) -> Self {
        Self {
            make,
            world: OnceLock::new(),
        }
    }

    /// Waits for the tests before, even failed ones.
    #[expect(clippy::panic, reason = "without its world no test of the suite can go on")]
    pub fn take(&self) -> Turn<'_, T> {
        let world = self.world.get_or_init(|| match (self.make)() {
            Ok(world) => Mutex::new(world),
            Err(error) => panic!("the suite's world could not be made: {error:?}"),
        });
        Turn {
            world: world.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

impl<T: Report> Deref for Turn<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.world
    }
}

impl<T: Report> DerefMut for Turn<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.world
    }
}

impl<T: Report> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("{}", self.world.report());
        }
    }
}

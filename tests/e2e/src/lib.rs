//! What the end-to-end suites share: everyday servers as workloads, peers that must be refused, and a small shop of
//! workloads that a suite's tests take turns with.

#![expect(clippy::missing_panics_doc, reason = "panics are how tests fail")]

pub mod ask;
pub mod case;
pub mod crowd;
pub mod farm;
pub mod hall;
pub mod kernel;
pub mod outcomes;
pub mod pace;
pub mod peers;
pub mod rogue;
pub mod routes;
pub mod servers;
pub mod shop;
pub mod speakers;
pub mod traffic;
pub mod turns;

use std::io::Write as _;
use std::time::Duration;

/// For what takes milliseconds on an idle machine.
pub const MOMENT: Duration = Duration::from_secs(10);
/// For what is slow by itself: starting a database, transferring hundreds of megabytes.
pub const LONG: Duration = Duration::from_mins(1);

/// Prints a measurement. Past the test runner's capture of output, which shows it for failed tests only.
#[macro_export]
macro_rules! report {
    ($($text:tt)*) => {
        $crate::say(&format!($($text)*))
    };
}

/// What [`report!`] does.
pub fn say(text: &str) {
    // Nobody is left to tell when standard error is closed.
    let _closed = std::io::stderr().write_all(format!("    {text}\n").as_bytes());
}

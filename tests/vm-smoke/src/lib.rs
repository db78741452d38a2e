//! Checks of the kernel side with real sockets, cgroups and namespaces. One piece of code serves the tests on the
//! running kernel (`tests/capture.rs`) and the program that a virtual machine runs as its only one (`main.rs`).
//!
//! Every check makes its own stage and removes it. Needs root; without it the checks fail.

pub mod checks;
pub mod client;
pub mod namespace;
pub mod owner;
pub mod proxy;
pub mod stage;
pub mod verifier;

//! The process kit of the binaries: everything a long-running Linux service needs before it has a purpose.
//!
//! Owns configuration loading, logging, the admin HTTP server, metrics, readiness, drain and tasks.
//! Knows nothing of what the process does, and starts no thread by itself: each part is a value that the
//! binary constructs and wires.

pub mod backoff;
pub mod build_info;
pub mod config;
pub mod drain;
pub mod http_server;
pub mod logging;
pub mod metrics;
mod process;
pub mod readiness;
pub mod tasks;

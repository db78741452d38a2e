//! Sockets: making them in any network namespace, and reading and writing both kinds of stream.
//!
//! Knows nothing of snapshots, identities or metrics.

pub mod budget;
pub mod cores;
pub mod diag;
pub mod io;
pub mod namespace;
pub mod side;
pub mod socket;

//! What HTTP means to the mesh, as pure functions: which protocol a connection speaks, which requests are refused,
//! which rule of a route table a request matches, and what filters do to it.
//!
//! Nothing here does I/O or knows a runtime, so that all of it can be fuzzed and measured on its own.

pub mod detect;
pub mod filter;
pub mod guard;
pub mod headers;
pub mod path;
mod query;
pub mod table;

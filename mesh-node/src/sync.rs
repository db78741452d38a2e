//! Configuration from the control plane: the delta discovery stream, and the last good state on disk.

pub mod cache;
pub mod client;
pub mod keeper;
pub mod session;
mod usable;

//! What the node tells about the connections it carries: metrics and the access log.
//!
//! Knows names and numbers only; it decides nothing and holds no connection.

pub mod access_log;
pub mod metrics;
pub mod readings;
pub mod requests;

//! What the node tells about the connections and requests it carries: metrics and the access log.
//!
//! Knows names and numbers only; it decides nothing and holds no connection.

pub mod access_log;
pub mod backends;
pub mod connections;
mod encode;
pub mod latency;
mod lines;
pub mod metrics;
pub mod readings;
pub mod requests;
pub mod series;

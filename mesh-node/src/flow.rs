//! The life of a connection: resolve → authorize → connect → relay → report.
//!
//! The only place that joins snapshot, identities, transports and telemetry.

pub mod connect;
pub mod context;
pub mod detect;
pub mod direct;
pub mod failure;
pub mod http;
pub mod inbound;
pub mod live;
pub mod outbound;
pub mod plan;
pub mod relay;
pub mod report;
#[cfg(test)]
mod size;

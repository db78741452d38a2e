//! HBONE: TCP connections as HTTP/2 CONNECT streams over mutual TLS, as ztunnel speaks it (HBONE = HTTP-Based
//! Overlay Network Environment).
//!
//! A transport: it gets a resolved target and a TLS configuration; it looks nothing up and decides no policy.

pub mod authority;
pub mod channel;
pub mod client;
pub mod headers;
pub mod keepalive;
pub mod pool;
pub mod server;

/// The port of HBONE on every workload's address.
pub const PORT: u16 = 15008;

//! Pushes the world to the nodes: the incremental aggregated discovery service (xDS protocol, "Incremental xDS").
//!
//! [`Catalog`] is the world as it goes over the wire, encoded once for all nodes. [`session`] decides for one stream
//! what is sent when, and does no I/O. [`DiscoveryService`] moves messages between the two and the network. Reads
//! the snapshot only; never sees where it came from.

mod catalog;
mod register;
mod server;
mod session;

pub use catalog::{Catalog, follow};
pub use server::DiscoveryService;

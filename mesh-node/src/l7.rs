//! The HTTP server and client of the data path: connections and bodies, no decisions.

pub mod body;
pub mod budget;
pub mod client;
mod counted;
mod date;
mod guarded;
pub mod interim;
pub mod limits;
pub mod meter;
pub mod outgoing;
pub mod reply;
pub mod server;
pub mod tee;
pub mod upgrade;

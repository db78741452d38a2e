//! The HTTP server and client of the data path: connections and bodies, no decisions.

pub mod body;
pub mod limits;
pub mod reply;
pub mod server;
pub mod upgrade;

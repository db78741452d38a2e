//! The HTTP server and client of the data path: connections and bodies, no decisions.

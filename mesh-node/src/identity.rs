//! Identities of the local workloads: their certificates, and who is trusted.
//!
//! Keys are made here, never leave the node, and are kept on disk only in the runtime directory, for a restart
//! while the control plane is away.

pub mod authority;
pub mod manager;
pub mod material;
pub mod renewal;
pub mod store;
pub mod tls;
pub mod vault;
pub mod verify;

pub use material::Material;
pub use store::{IdentityUnavailable, Store};

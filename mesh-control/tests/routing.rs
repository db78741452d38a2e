//! From manifests to what nodes are told of routes, and to the conditions that say so: Gateway API's rules where a
//! Service is the parent (v1.5, GEP-1294, GEP-1426).
#![expect(clippy::unwrap_used, reason = "test helpers: what fails shall stop the test")]

#[path = "routing/backends.rs"]
mod backends;
#[path = "routing/conflicts.rs"]
mod conflicts;
#[path = "routing/mesh.rs"]
mod mesh;
#[path = "routing/order.rs"]
mod order;
#[path = "routing/parents.rs"]
mod parents;
#[path = "routing/policies.rs"]
mod policies;
#[path = "routing/wire.rs"]
mod wire;

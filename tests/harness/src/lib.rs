//! Topologies of nodes and pods on one kernel, out of namespaces and cgroups, for the tests and the demo.
//!
//! Layers, each using only the ones above it: [`wait`] and [`process`] (every wait has a deadline), [`netns`] and
//! [`place`] (where a program runs), [`ownership`] (who made what, and its removal even after a kill),
//! [`topology`] (nodes, pods and the link between them), [`manifest`], [`control`] and [`node`] (the product's
//! processes), [`mesh`] (all of it together).
//!
//! Nothing is made in the host's network namespace, and nothing is removed that this crate did not make.

pub mod binaries;
pub mod control;
pub mod demo;
pub mod http;
pub mod manifest;
pub mod mesh;
pub mod metrics;
pub mod mounts;
pub mod netns;
pub mod node;
pub mod ownership;
pub mod place;
pub mod process;
pub mod sniffer;
pub mod socket;
pub mod topology;
pub mod wait;

pub use manifest::Manifests;
pub use mesh::{Mesh, MeshBuilder};
pub use metrics::Metrics;
pub use node::NodeProxy;
pub use ownership::sweep;
pub use place::{Place, Program};
pub use process::{Finished, Process};
pub use sniffer::Sniffer;
pub use topology::{Node, Topology, Workload};
pub use wait::until;

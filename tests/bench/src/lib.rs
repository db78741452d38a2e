//! What the mesh costs: the same load on a direct connection, on the mesh, and on a pair of Envoys, in turns.
//!
//! Layers, each using only the ones above it: [`plan`] (what was asked for), [`statistics`], [`meter`] (CPU), [`load`]
//! (programs that make load, and what they said), [`servers`], [`swap`], the mesh's manifests, [`envoy`] (what is loaded),
//! [`stage`] (all of it on two nodes), [`profile`] (flame graphs), [`group`] (subjects that take turns), [`cases`] (which
//! groups there are), [`memory`], [`targets`], [`plot`] and [`report`]. `cargo xtask bench` installs what is needed and
//! calls the program.
//!
//! Asserts nothing on speed. Fails when an answer is not the one that was asked for: a proxy that refuses is fast.

pub mod cases;
pub mod envoy;
pub mod group;
mod identity;
pub mod load;
pub mod machine;
mod manifests;
pub mod memory;
pub mod meter;
pub mod plan;
pub mod plot;
pub mod profile;
pub mod report;
pub mod servers;
pub mod stage;
pub mod statistics;
pub mod swap;
pub mod targets;

//! What the mesh costs: the same load on a direct connection, on the mesh, and on a pair of Envoys, in turns.
//!
//! Layers, each using only the ones above it: [`plan`] (what was asked for), [`statistics`], [`meter`] (CPU and
//! memory), [`load`] (programs that make load, and what they said), [`envoy`] and [`servers`] (what is loaded),
//! [`stage`] (all of it on two nodes), [`profile`] (flame graphs), [`group`] (subjects that take turns) and [`cases`] (which groups there are),
//! [`report`] (figures, ratios, targets). `cargo xtask bench` installs what is needed and calls the program.
//!
//! Asserts nothing on speed. Fails when an answer is not the one that was asked for: a proxy that refuses is fast.

pub mod cases;
pub mod envoy;
pub mod group;
pub mod load;
pub mod meter;
pub mod plan;
pub mod profile;
pub mod report;
pub mod servers;
pub mod stage;
pub mod statistics;

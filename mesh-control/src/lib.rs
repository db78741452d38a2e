//! The control plane: turns a cluster's resources into the nodes' configuration, and signs their certificates.
//!
//! `source` reads resources, `world` joins them, `push` tells the nodes, `ca` signs, `tokens` and `attest` say who
//! a node is, and `app` is the only place that joins these. The data path never waits for any of them.

pub mod app;
pub mod attest;
pub mod ca;
pub mod config;
pub mod listener;
pub mod push;
pub mod source;
pub mod telemetry;
pub mod tokens;
pub mod world;

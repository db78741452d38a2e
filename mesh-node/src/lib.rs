//! The data plane: captures the workloads of one node and carries their connections.

pub mod admin;
pub mod app;
pub mod capture;
pub mod config;
pub mod control;
pub mod flow;
pub mod hbone;
pub mod identity;
pub mod l7;
pub mod local;
pub mod net;
pub mod outcome;
pub mod resilience;
pub mod state;
pub mod sync;
pub mod telemetry;
pub mod workloads;

//! Sources: where the cluster's resources come from. Today a folder of manifests.
//!
//! A source reads, types and locates resources, and emits the whole of them as [`Inputs`] with whatever was wrong.
//! It never sees what becomes of them.

mod folder;
mod manifest;
mod watch;

pub use folder::{Load, read};
pub use watch::{SourceConfig, watch};

pub(crate) use crate::world::Inputs;

//! Wire formats: the control plane's protocol with its conversion to the model, and the admin API's JSON.
//!
//! Generated types ([`wire`]) stop here and at the two ends of the control plane's connection; everything else
//! works with `mesh-model`.

pub mod admin;
mod convert;
mod resource;

/// Generated from `proto/` by `cargo xtask gen`.
#[path = "gen.rs"]
#[expect(
    missing_docs,
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code; the protos carry the documentation"
)]
pub mod wire;

pub use convert::{ConvertError, decode, decode_removal};
pub use resource::{EncodedResource, ResourceType};

/// The resource name that subscribes to every resource of a type (xDS protocol, "wildcard").
pub const WILDCARD: &str = "*";

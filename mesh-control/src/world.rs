//! The world: typed resources from the sources, joined into the model that nodes are told.
//!
//! Imports nothing but the model. Sources put [`Inputs`] in, [`join`] makes model resources of them and says what
//! is wrong, and [`Store`] holds the current [`World`], an immutable value. A set of inputs with an error never
//! becomes the world: the last good one stays.

mod inputs;
mod join;
mod problem;
mod resources;
mod status;
mod store;

pub use inputs::{
    Age, BackendRef, BackendSettings, Filter, Inputs, Namespace, ParentRef, Refusal, RequestSettings, Route,
    RouteKind, Rule, Service, ServicePort, Slice, SliceEndpoint, SlicePort, Sourced, TargetPort, TargetRef,
    TrafficPolicy, WeightedRef, Workload,
};
pub use join::{Joined, join};
pub use problem::{Origin, Problem, Report, Severity};
pub use resources::Resources;
pub use status::{
    BackendStatus, CONTROLLER, Condition, ConditionKind, ParentStatus, PolicyStatus, Reason, RouteStatus,
    RuleStatus, Statuses, TargetStatus,
};
pub use store::{Store, World};

//! Mechanisms against failure and overload: what stands behind a Service, which of it is chosen, and how much may be
//! under way. Values in, values out: nothing here does I/O, and nothing on a request's path waits for another core.

mod admission;
mod backend;
mod backends;
mod budget;
mod clock;
mod consistent;
mod endpoint;
mod ewma;
mod fault;
mod hash;
mod health;
mod members;
mod outlier;
mod pool;
mod rate;
mod reach;
mod sampler;
#[cfg(test)]
mod world;

pub use admission::{ConnectionPermit, Limit, Overflow, PendingPermit, RequestPermit};
pub use backend::{Backend, Demand, EndpointView, Pick, PolicyGuard, Unavailable};
pub use backends::{Backends, Touched};
pub use endpoint::{EndpointState, InFlight, Outcome, WorkloadRef};
pub use fault::FaultInjector;
pub use hash::stable_hash;
pub use rate::{RateLimited, RateLimiter};

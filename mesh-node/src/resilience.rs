//! Mechanisms against failure and overload: what stands behind a Service, which of it is chosen, and how much may be
//! under way. Values in, values out: nothing here does I/O, and nothing on a request's path waits for another core.

mod admission;
mod backend;
mod backends;
pub mod balance;
mod endpoint;
mod fault;
mod members;
mod rate;

pub use admission::{ConnectionPermit, Limit, Overflow, PendingPermit, RequestPermit};
pub use backend::{Backend, Demand, Pick, PolicyGuard, Unavailable};
pub use backends::{Backends, Touched};
pub use endpoint::{EndpointState, InFlight, Outcome, WorkloadRef};
pub use fault::FaultInjector;
pub use rate::{RateLimited, RateLimiter};

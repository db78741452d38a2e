//! Routing over two nodes, with everyday clients and servers: Gateway API's mesh conformance tests, its gateway tests
//! translated to a Service as parent, and the semantics that implementations get wrong. Each test is a table: a route,
//! requests, and what must become of each, at the client and as the backend sees it. Every table is asked from a
//! client on each node, so that each backend is a neighbour once and far away once.

#![expect(clippy::unwrap_used, reason = "in a test, a failure's place is what matters")]

use mesh_e2e::hall::Hall;
use mesh_e2e::turns::Turns;

#[path = "routing/backends.rs"]
mod backends;
#[path = "routing/changes.rs"]
mod changes;
#[path = "routing/cors.rs"]
mod cors;
#[path = "routing/filters.rs"]
mod filters;
#[path = "routing/grpc.rs"]
mod grpc;
#[path = "routing/matching.rs"]
mod matching;
#[path = "routing/mirrors.rs"]
mod mirrors;
#[path = "routing/order.rs"]
mod order;
#[path = "routing/parents.rs"]
mod parents;
#[path = "routing/protocols.rs"]
mod protocols;
#[path = "routing/redirects.rs"]
mod redirects;
#[path = "routing/status.rs"]
mod status;
#[path = "routing/time.rs"]
mod time;

/// Made once. Each test has Services and routes of its own names, and leaves them.
static HALL: Turns<Hall> = Turns::new(Hall::open);

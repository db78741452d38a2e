//! The HTTP engine with everyday clients and servers, over two nodes and on one: bodies that stream both ways, trailers,
//! interim answers, upgrades, gRPC, connections that are kept and lost, and what becomes of a message when one of its
//! ends breaks.

#![expect(clippy::unwrap_used, reason = "in a test, a failure's place is what matters")]

use std::net::SocketAddr;

use mesh_e2e::case::Target;
use mesh_e2e::hall::Hall;
use mesh_e2e::peers;
use mesh_e2e::turns::Turns;
use mesh_harness::Workload;
use serde_json::Value;

#[path = "http/bodies.rs"]
mod bodies;
#[path = "http/breaks.rs"]
mod breaks;
#[path = "http/calls.rs"]
mod calls;
#[path = "http/connections.rs"]
mod connections;
#[path = "http/heads.rs"]
mod heads;
#[path = "http/large.rs"]
mod large;
#[path = "http/stops.rs"]
mod stops;
#[path = "http/upgrades.rs"]
mod upgrades;

/// Made once. No test leaves it otherwise than it was.
static HALL: Turns<Hall> = Turns::new(Hall::open);

/// The ports of a Service whose endpoints are spoken to in HTTP/1.1 and HTTP/2.
const PORTS: [(u16, &str); 2] = [(80, "HTTP/1.1"), (8082, "HTTP/2.0")];

/// Makes requests at once with Node.js' client.
fn ask(hall: &Hall, from: &Workload, target: &Target, port: u16, asks: &[Value]) -> Vec<Value> {
    let to = SocketAddr::new(target.address, port);
    let answers = peers::http(from, &hall.folder(), to, asks).unwrap();
    assert_eq!(answers.len(), asks.len(), "{answers:?}");
    answers
}

/// Waits until a server's log has a request with this key of which this holds.
fn wait_entry(of: &Workload, key: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let found = mesh_harness::until("a request in the server's log", mesh_e2e::MOMENT, || {
        let log = peers::log(of)?;
        last = log
            .into_iter()
            .find(|entry| entry["key"] == key)
            .unwrap_or_default();
        Ok(holds(&last).then(|| last.clone()))
    });
    assert!(found.is_ok(), "{key}: {last}");
    found.unwrap()
}

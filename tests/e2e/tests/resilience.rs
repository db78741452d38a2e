//! What the mesh does about failure and overload, and how it spreads requests: traffic policies over two nodes, with
//! servers that fail as they are told and clients that ask at a fixed rate.

#![expect(clippy::unwrap_used, reason = "in a test, a failure's place is what matters")]

use mesh_e2e::farm::Farm;
use mesh_e2e::turns::{Turn, Turns};

#[path = "resilience/breaking.rs"]
mod breaking;
#[path = "resilience/changes.rs"]
mod changes;
#[path = "resilience/faults.rs"]
mod faults;
#[path = "resilience/limits.rs"]
mod limits;
#[path = "resilience/outliers.rs"]
mod outliers;
#[path = "resilience/placing.rs"]
mod placing;
#[path = "resilience/retries.rs"]
mod retries;

/// Made once. Each test has Services of its own, and leaves servers as it found them.
static FARM: Turns<Farm> = Turns::new(Farm::open);

/// A test's turn, with all servers as they were made.
fn farm() -> Turn<'static, Farm> {
    let mut farm = FARM.take();
    farm.restore().unwrap();
    farm
}

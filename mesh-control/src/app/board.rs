//! What became of the folder's last reading, for people: `GET /problems` and `GET /routes`.

use std::sync::Arc;

use mesh_api::admin::{RouteReading, RouteReport};
use mesh_runtime::http_server::{Response, Router};
use parking_lot::Mutex;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::statuses;
use crate::world::{Problem, Statuses};

/// Problems of one load that are logged and shown; more are counted. A person mends the first ones first.
pub(super) const MAX_SHOWN: usize = 200;

/// What became of the last load. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Board {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    problems: ProblemReport,
    routes: Arc<RouteReport>,
}

/// The answer of `GET /problems`.
#[derive(Debug, Clone, Default, Serialize)]
struct ProblemReport {
    /// Whether the last load is in force. If not, the last good one still is, if there was any.
    is_in_force: bool,
    /// When the last load was read (RFC 3339); empty before the first.
    loaded_at: String,
    /// When the load in force was read (RFC 3339); empty before the first good one.
    in_force_since: String,
    /// How many problems there are in all.
    count: usize,
    /// The problems, errors first.
    problems: Vec<Problem>,
}

// === impl Board ===

impl Board {
    /// Adds `GET /problems` and `GET /routes`.
    #[must_use]
    pub fn mount(self, router: Router) -> Router {
        let of_routes = Arc::clone(&self.state);
        let router = router.get("/problems", move |_| {
            let problems = self.state.lock().problems.clone();
            std::future::ready(Response::json(&problems))
        });
        router.get("/routes", move |_| {
            let routes = Arc::clone(&of_routes.lock().routes);
            std::future::ready(Response::json(&*routes))
        })
    }

    /// Shows what became of a load.
    pub(super) fn show(&self, is_in_force: bool, mut problems: Vec<Problem>, statuses: &Statuses) {
        let now = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        let reading = RouteReading {
            loaded_at: now.clone(),
            ..statuses::reading(statuses)
        };
        let mut state = self.state.lock();
        let in_force = state.routes.in_force.clone();
        state.routes = Arc::new(if is_in_force {
            RouteReport {
                in_force: Some(reading),
                refused: None,
            }
        } else {
            RouteReport {
                in_force,
                refused: Some(reading),
            }
        });
        let shown = &mut state.problems;
        shown.is_in_force = is_in_force;
        shown.count = problems.len();
        problems.truncate(MAX_SHOWN);
        shown.problems = problems;
        if is_in_force {
            shown.in_force_since.clone_from(&now);
        }
        shown.loaded_at = now;
    }
}

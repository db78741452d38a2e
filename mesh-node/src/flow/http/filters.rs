//! The filters of a rule and of the backend that was drawn, on one request.

use http::header::{HeaderValue, LOCATION, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, Response};
use mesh_http::filter::FilterError;
use mesh_model::CookieAffinity;

use super::connection::Connection;
use super::refusal::Refusal;
use crate::flow::plan::rule::{Rule, Step, Target};
use crate::l7::body::Body;
use crate::outcome::Flag;

/// What filters want of the answer.
#[derive(Default)]
pub(super) struct Afterwards<'a> {
    /// Filters that change it.
    steps: Vec<&'a Step>,
    /// The request's Origin.
    origin: Option<HeaderValue>,
    /// The cookie that keeps a client at its endpoint, and the endpoint that it named.
    pub(super) affinity: Option<(&'a CookieAffinity, Option<u64>)>,
}

/// A request after its rule's filters.
pub(super) enum Filtered<'a> {
    Request {
        head: Box<Parts>,
        target: &'a Target,
        after: Afterwards<'a>,
    },
    Answer(Box<Response<Body>>),
    Refusal(Refusal),
}

/// Applies the rule's filters, draws a backend, and applies its filters.
pub(super) fn filter<'a>(
    rule: &'a Rule,
    mut head: Parts,
    prefix: Option<&str>,
    connection: &Connection,
) -> Filtered<'a> {
    let mut after = Afterwards {
        origin: head.headers.get(http::header::ORIGIN).cloned(),
        ..Afterwards::default()
    };
    if let Err(answer) = apply(&rule.steps, &mut head, prefix, connection, &mut after) {
        return answer;
    }
    let Some(target) = rule.backends.draw() else {
        return Filtered::Refusal(Refusal::new(500, Flag::NoBackend, "the rule has no backend"));
    };
    if let Err(answer) = apply(&target.steps, &mut head, prefix, connection, &mut after) {
        return answer;
    }
    Filtered::Request {
        head: Box::new(head),
        target,
        after,
    }
}

fn apply<'a>(
    steps: &'a [Step],
    head: &mut Parts,
    prefix: Option<&str>,
    connection: &Connection,
    after: &mut Afterwards<'a>,
) -> Result<(), Filtered<'a>> {
    let bad = |error: FilterError| {
        let (status, flag) = match error {
            FilterError::NoHost | FilterError::TooLong => (400, Flag::DownstreamProtocolError),
            // The route asks for what can't be.
            FilterError::NoPrefix | FilterError::Field { .. } => (500, Flag::NoBackend),
        };
        Filtered::Refusal(Refusal::new(status, flag, error.to_string()))
    };
    for step in steps {
        match step {
            Step::Request(edits) => edits.apply(&mut head.headers),
            Step::Rewrite(rewrite) => rewrite.apply(head, prefix).map_err(bad)?,
            Step::Response(_) => after.steps.push(step),
            Step::Cors(cors) => {
                if let Some(answer) = cors.preflight(head) {
                    return Err(Filtered::Answer(Box::new(answer.map(|()| Body::empty()))));
                }
                after.steps.push(step);
            }
            Step::Redirect(redirect) => {
                let (status, location) = redirect
                    .location(head, prefix, connection.asked.port())
                    .map_err(bad)?;
                let mut answer = Response::new(Body::empty());
                *answer.status_mut() = status;
                answer.headers_mut().insert(LOCATION, location);
                after.apply(answer.headers_mut(), None);
                return Err(Filtered::Answer(Box::new(answer)));
            }
            // Copies are made when everything else is settled.
            Step::Mirror(_) => {}
        }
    }
    Ok(())
}

// === impl Afterwards ===

impl Afterwards<'_> {
    /// Changes the head of an answer of the endpoint with this hash.
    pub(super) fn apply(&self, headers: &mut HeaderMap, endpoint: Option<u64>) {
        for step in &self.steps {
            match step {
                Step::Response(edits) => edits.apply(headers),
                Step::Cors(cors) => cors.answer(self.origin.as_ref(), headers),
                _ => {}
            }
        }
        let (Some((affinity, known)), Some(endpoint)) = (self.affinity, endpoint) else {
            return;
        };
        if known == Some(endpoint) {
            return;
        }
        let age = affinity
            .max_age
            .map(|age| format!("; Max-Age={}", age.as_secs()))
            .unwrap_or_default();
        let cookie = format!(
            "{}={endpoint:016x}; Path={}{age}; HttpOnly",
            affinity.name, affinity.path
        );
        if let Ok(value) = HeaderValue::try_from(cookie) {
            headers.append(SET_COOKIE, value);
        }
    }
}

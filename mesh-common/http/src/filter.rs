//! What a route's filters do to a request and its answer.

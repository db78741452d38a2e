//! Choosing an endpoint: the less loaded of two random ones.
//!
//! Two choices keep loads close to even without a lock or a list in order (Mitzenmacher, "The Power of Two Choices
//! in Randomized Load Balancing", 2001).

use mesh_model::{Endpoint, EndpointSet};

/// A ready endpoint that serves the Service's port and is not among `tried`; `None` when there is none left.
pub fn choose<'a>(set: &'a EndpointSet, service_port: u16, tried: &[usize]) -> Option<(usize, &'a Endpoint)> {
    let is_candidate = |index: &usize, endpoint: &Endpoint| {
        endpoint.is_ready && endpoint.target(service_port).is_some() && !tried.contains(index)
    };
    let candidates = || {
        set.endpoints
            .iter()
            .enumerate()
            .filter(|(i, e)| is_candidate(i, e))
    };
    let count = candidates().count();
    if count == 0 {
        return None;
    }
    let first = fastrand::usize(..count);
    // Differs from the first whenever there are two.
    let second = (first + fastrand::usize(1..count.max(2))) % count;
    let (first, second) = (candidates().nth(first)?, candidates().nth(second)?);
    Some(if second.1.active.get() < first.1.active.get() {
        second
    } else {
        first
    })
}

#[cfg(test)]
mod tests {
    use mesh_model::fixture;

    use super::*;

    fn three() -> EndpointSet {
        let endpoints = [
            ("10.0.0.1", 1, "a/a"),
            ("10.0.0.2", 1, "a/b"),
            ("10.0.0.3", 1, "a/c"),
        ];
        fixture::endpoints("a/s", 80, &endpoints)
    }

    #[test]
    fn every_endpoint_gets_its_share() {
        let set = three();
        for _ in 0..3000 {
            let (_, endpoint) = choose(&set, 80, &[]).unwrap();
            endpoint.active.increment();
        }
        for endpoint in &set.endpoints {
            assert!(
                (950..=1050).contains(&endpoint.active.get()),
                "{}",
                endpoint.active.get()
            );
        }
    }

    #[test]
    fn passes_over_what_is_not_ready_was_tried_or_does_not_serve_the_port() {
        let mut set = three();
        set.endpoints[0].is_ready = false;
        for _ in 0..100 {
            assert_eq!(choose(&set, 80, &[1]).unwrap().0, 2);
        }
        assert!(choose(&set, 80, &[1, 2]).is_none());
        assert!(choose(&set, 81, &[]).is_none());
    }

    #[test]
    fn an_only_endpoint_is_chosen() {
        let set = fixture::endpoints("a/s", 80, &[("10.0.0.1", 1, "a/a")]);
        assert_eq!(choose(&set, 80, &[]).unwrap().0, 0);
    }
}

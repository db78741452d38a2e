//! Choosing an endpoint: the less loaded of two random ones.
//!
//! Two choices keep loads close to even without a lock or a list in order (Mitzenmacher, "The Power of Two Choices
//! in Randomized Load Balancing", 2001).

use std::net::SocketAddr;

use mesh_model::{Endpoint, EndpointSet};

/// A ready endpoint that serves the Service's port and is not among `tried`; `None` when there is none left. As in
/// Kubernetes, a Service's IPv4 address leads to IPv4 endpoints and its IPv6 address to IPv6 ones; those of the other
/// family serve when there is no other.
pub fn choose<'a>(set: &'a EndpointSet, asked: SocketAddr, tried: &[usize]) -> Option<(usize, &'a Endpoint)> {
    let serves = |endpoint: &Endpoint| endpoint.is_ready && endpoint.target(asked.port()).is_some();
    let is_same_family = |endpoint: &Endpoint| endpoint.address.is_ipv4() == asked.is_ipv4();
    less_loaded(set, |index, e| {
        serves(e) && is_same_family(e) && !tried.contains(&index)
    })
    .or_else(|| less_loaded(set, |index, e| serves(e) && !tried.contains(&index)))
}

fn less_loaded(
    set: &EndpointSet,
    is_candidate: impl Fn(usize, &Endpoint) -> bool,
) -> Option<(usize, &Endpoint)> {
    let candidates = || {
        set.endpoints
            .iter()
            .enumerate()
            .filter(|(index, endpoint)| is_candidate(*index, endpoint))
    };
    let count = candidates().count();
    if count == 0 {
        return None;
    }
    let first = fastrand::usize(..count);
    // Differs from the first whenever there are two.
    let second = (first + fastrand::usize(1..count.max(2))) % count;
    let (first, second) = (candidates().nth(first)?, candidates().nth(second)?);
    Some(if fastrand::bool() { first } else { second })
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use mesh_model::fixture;

    use super::*;

    const ASKED: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 80);

    fn three() -> EndpointSet {
        let endpoints = [
            ("10.0.0.1", 1, "a/a"),
            ("10.0.0.2", 1, "a/b"),
            ("10.0.0.3", 1, "a/c"),
        ];
        fixture::endpoints("a/s", 80, &endpoints)
    }

    #[test]
    fn passes_over_what_is_not_ready_was_tried_or_does_not_serve_the_port() {
        let mut set = three();
        set.endpoints[0].is_ready = false;
        for _ in 0..100 {
            assert_eq!(choose(&set, ASKED, &[1]).unwrap().0, 2);
        }
        assert!(choose(&set, ASKED, &[1, 2]).is_none());
        assert!(choose(&set, SocketAddr::new(ASKED.ip(), 81), &[]).is_none());
    }

    #[test]
    fn keeps_to_the_family_while_it_has_endpoints() {
        let set = fixture::endpoints("a/s", 80, &[("10.0.0.1", 1, "a/a"), ("fd00::1", 1, "a/a")]);
        for _ in 0..100 {
            assert_eq!(choose(&set, ASKED, &[]).unwrap().0, 0);
        }
        assert_eq!(choose(&set, ASKED, &[0]).unwrap().0, 1);
    }

    #[test]
    fn an_only_endpoint_is_chosen() {
        let set = fixture::endpoints("a/s", 80, &[("10.0.0.1", 1, "a/a")]);
        assert_eq!(choose(&set, ASKED, &[]).unwrap().0, 0);
    }
}

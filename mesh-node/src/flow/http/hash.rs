//! What consistent hashing goes by, of one request.

use std::net::IpAddr;

use http::request::Parts;
use mesh_http::headers;
use mesh_model::{Balancing, HashKey};

use super::connection::Connection;
use crate::resilience::{Backend, stable_hash};

/// What consistent hashing goes by; `None` where the backend has none, or the request lacks it.
pub(super) fn hash(backend: &Backend, head: &Parts, connection: &Connection) -> Option<u64> {
    let policy = backend.policy();
    let (Balancing::RingHash { key, .. } | Balancing::Maglev { key, .. }) = &policy.backend.balancing else {
        return None;
    };
    match key {
        HashKey::Header(name) => head
            .headers
            .get(name.as_str())
            .map(|value| stable_hash(value.as_bytes())),
        HashKey::Cookie(name) => {
            headers::cookie(&head.headers, name).map(|value| stable_hash(value.as_bytes()))
        }
        HashKey::Query(name) => headers::query(&head.uri, name).map(|value| stable_hash(value.as_bytes())),
        HashKey::SourceAddress => Some(match connection.client.ip() {
            IpAddr::V4(address) => stable_hash(&address.octets()),
            IpAddr::V6(address) => stable_hash(&address.octets()),
        }),
    }
}

//! What is known of a request when it is over: what metrics and the access log are made from.

use std::net::SocketAddr;
use std::time::Duration;

use http::Version;
use mesh_model::{Identity, ResourceName, RuleName};

use crate::outcome::Flags;

/// A request that is over. Borrowed, so that telling of it copies nothing.
///
/// Texts that clients chose (method, authority, path, request id, user agent) may hold anything: they never become
/// labels, and the access log escapes and cuts them.
#[derive(Debug, Clone, Copy)]
pub struct RequestRecord<'a> {
    /// The client's address.
    pub client: SocketAddr,
    /// The workload that asked.
    pub source: Option<&'a ResourceName>,
    /// Who it is.
    pub source_identity: Option<&'a Identity>,
    /// The Service asked for, and its port; `None` for a request to a workload's own address.
    pub service: Option<(&'a ResourceName, u16)>,
    /// The rule that matched.
    pub route: Option<&'a RuleName>,
    /// The Service, and its port, that the request was sent to: the rule's choice, or `service` where no route applies.
    pub backend: Option<(&'a ResourceName, u16)>,
    /// The workload that the last attempt went to.
    pub destination: Option<&'a ResourceName>,
    /// Who it is.
    pub destination_identity: Option<&'a Identity>,
    /// Where the last attempt went.
    pub endpoint: Option<SocketAddr>,
    /// `hbone`, `local` or `plaintext`; empty when no attempt came that far.
    pub transport: &'static str,
    /// The method.
    pub method: &'a str,
    /// The Host, or `:authority`.
    pub authority: &'a str,
    /// The path as the client sent it; what follows a `?` is not told.
    pub path: &'a str,
    /// What the client spoke.
    pub protocol: Version,
    /// The status that the client was answered with; `None` when it had gone before.
    pub status: Option<u16>,
    /// The call's status, for gRPC.
    pub grpc_status: Option<u32>,
    /// What the proxy did, or saw.
    pub flags: Flags,
    /// The whole story of a failure, as in the `x-mesh-error` header; empty when there was none.
    pub cause: &'a str,
    /// How often it was sent to an endpoint.
    pub attempts: u32,
    /// From the request's head to the answer's end.
    pub duration: Duration,
    /// Of that, the time spent waiting on endpoints: all attempts together, each from when a connection took it to its end.
    pub upstream_duration: Option<Duration>,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the answer's body.
    pub response_bytes: u64,
    /// `x-request-id`; empty when there is none.
    pub request_id: &'a str,
    /// The trace's id, in hexadecimal; empty when there is none.
    pub trace_id: &'a str,
    /// `user-agent`; empty when there is none.
    pub user_agent: &'a str,
}

// === impl RequestRecord ===

impl RequestRecord<'_> {
    /// A request of which nothing is known yet but who sent it: to be filled with `..RequestRecord::from(client)`.
    pub fn from(client: SocketAddr) -> Self {
        Self {
            client,
            source: None,
            source_identity: None,
            service: None,
            route: None,
            backend: None,
            destination: None,
            destination_identity: None,
            endpoint: None,
            transport: "",
            method: "",
            authority: "",
            path: "",
            protocol: Version::HTTP_11,
            status: None,
            grpc_status: None,
            flags: Flags::default(),
            cause: "",
            attempts: 0,
            duration: Duration::ZERO,
            upstream_duration: None,
            request_bytes: 0,
            response_bytes: 0,
            request_id: "",
            trace_id: "",
            user_agent: "",
        }
    }
}

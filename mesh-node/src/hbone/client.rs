//! The client of a tunnel: TCP, TLS and HTTP/2 to a peer's proxy, and CONNECT over it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use mesh_model::Identity;
use mesh_runtime::drain::Drain;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::time::timeout;

use super::PORT;
use super::channel::{self, Channel, Flush};
use crate::config::HboneConfig;
use crate::identity::verify::explain;
use crate::net::budget;
use crate::net::namespace::Namespace;
use crate::net::side::Side;
use crate::net::socket;

/// Largest header list that a peer may answer with, in bytes (ztunnel's value).
const MAX_HEADER_LIST: u32 = 16 * 1024;
/// Bytes that wait in one stream for the connection to take them (ztunnel's value).
const SEND_BUFFER: usize = 400 * 1024;

/// Why there is no tunnel.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TunnelError {
    /// TCP did not come about.
    #[error(
        "cannot connect to the proxy at {peer}: {source}; is a firewall or NetworkPolicy blocking port 15008?"
    )]
    Connect {
        /// Where.
        peer: SocketAddr,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// TLS did not come about: no common protocol, or either side refused the other's certificate.
    #[error("mutual TLS with {expected} at {peer} failed: {}", explain(source))]
    Tls {
        /// Where.
        peer: SocketAddr,
        /// Whom it should be.
        expected: Identity,
        /// What TLS said.
        source: Arc<io::Error>,
    },
    /// HTTP/2 did not come about, or broke.
    #[error("HTTP/2 with the proxy at {peer} failed: {source}")]
    Http2 {
        /// Where.
        peer: SocketAddr,
        /// What HTTP/2 said.
        source: Arc<io::Error>,
    },
    /// Nothing came about in time.
    #[error("the proxy at {peer} did not answer within {} s", deadline.as_secs_f32())]
    Timeout {
        /// Where.
        peer: SocketAddr,
        /// How long it was waited for.
        deadline: Duration,
    },
    /// The peer's proxy refused the stream.
    #[error("the proxy at {peer} answers {status}: {}", meaning(*status))]
    Refused {
        /// Where.
        peer: SocketAddr,
        /// Its answer.
        status: StatusCode,
    },
    /// Too much is open to this peer already.
    #[error(
        "{open} connections to the proxy at {peer} are open and full; raise hbone.max-connections-per-pair"
    )]
    Full {
        /// Where.
        peer: SocketAddr,
        /// How many.
        open: usize,
    },
}

/// Where a tunnel leads, and as whom.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The namespace from which it is built, so that it has the source workload's address.
    pub namespace: Arc<Namespace>,
    /// The peer's proxy.
    pub peer: SocketAddr,
    /// The identity that it must have.
    pub expected: Identity,
    /// The name to send, when the peer's listener serves several identities.
    pub server_name: Option<ServerName<'static>>,
    /// Stops when the source workload is released: its tunnels end with it.
    pub released: Drain,
}

/// An open HTTP/2 connection and what must be driven for it to live.
pub struct Opened {
    /// Sends requests.
    pub send: SendRequest<Bytes>,
    /// To be polled to its end, with [`Flush::drive`].
    pub connection: Connection<Channel, Bytes>,
    /// Writes what the connection has to say.
    pub flush: Flush,
    /// How long TLS took.
    pub handshake: Duration,
}

// === impl TunnelError ===

impl TunnelError {
    /// The label of metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            TunnelError::Connect { .. } => "tunnel_connect",
            TunnelError::Tls { .. } => "tls",
            TunnelError::Http2 { .. } => "http2",
            TunnelError::Timeout { .. } => "tunnel_timeout",
            TunnelError::Refused { .. } => "refused_by_peer",
            TunnelError::Full { .. } => "pool_full",
        }
    }

    pub(super) fn http2(peer: SocketAddr, error: h2::Error) -> Self {
        let source = Arc::new(crate::net::side::stream_error(error));
        TunnelError::Http2 { peer, source }
    }
}

/// What a refusal means (the answers of HBONE servers).
fn meaning(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "it does not understand the request",
        401 | 403 => "its policy does not admit this workload",
        503 => "it does not serve the destination, or the application there does not take the connection",
        _ => "it does not say why",
    }
}

/// Builds a connection: TCP from the source's namespace, TLS, HTTP/2. Within the configured deadline.
pub async fn open(
    endpoint: &Endpoint,
    tls: Arc<ClientConfig>,
    config: &HboneConfig,
) -> Result<Opened, TunnelError> {
    let Endpoint { peer, .. } = *endpoint;
    let deadline = config.connect_timeout;
    timeout(deadline, open_now(endpoint, tls, config))
        .await
        .map_err(|_| TunnelError::Timeout { peer, deadline })?
}

async fn open_now(
    endpoint: &Endpoint,
    tls: Arc<ClientConfig>,
    config: &HboneConfig,
) -> Result<Opened, TunnelError> {
    let peer = endpoint.peer;
    let tcp = socket::connect(&endpoint.namespace, peer, config.connect_timeout)
        .await
        .map_err(|source| TunnelError::Connect {
            peer,
            source: Arc::new(source),
        })?;
    // An address as server name is never sent (RFC 6066 §3): the peer then shows its workload's certificate.
    let name = endpoint
        .server_name
        .clone()
        .unwrap_or_else(|| ServerName::IpAddress(peer.ip().into()));
    let started = Instant::now();
    let (channel, flush) = channel::connect(tcp, tls, name)
        .await
        .map_err(|source| TunnelError::Tls {
            peer,
            expected: endpoint.expected.clone(),
            source: Arc::new(source),
        })?;
    let handshake = started.elapsed();
    let (send, connection) = h2::client::Builder::new()
        .initial_window_size(config.stream_window)
        .initial_connection_window_size(config.connection_window)
        .data_frame_budget(budget::data_frames(config.connection_window))
        .max_frame_size(config.max_frame)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buffer_size(SEND_BUFFER)
        .initial_max_send_streams(config.max_streams_per_connection)
        .enable_push(false)
        .handshake(channel)
        .await
        .map_err(|error| TunnelError::http2(peer, error))?;
    Ok(Opened {
        send,
        connection,
        flush,
        handshake,
    })
}

/// Asks for one stream to `destination`, within the deadline. The stream is open when the peer's application has
/// taken the connection.
pub async fn connect(
    send: SendRequest<Bytes>,
    peer: SocketAddr,
    destination: SocketAddr,
    headers: HeaderMap,
    deadline: Duration,
) -> Result<Side, TunnelError> {
    timeout(deadline, connect_now(send, peer, destination, headers))
        .await
        .map_err(|_| TunnelError::Timeout { peer, deadline })?
}

async fn connect_now(
    send: SendRequest<Bytes>,
    peer: SocketAddr,
    destination: SocketAddr,
    headers: HeaderMap,
) -> Result<Side, TunnelError> {
    let mut send = send
        .ready()
        .await
        .map_err(|error| TunnelError::http2(peer, error))?;
    let invalid = |error: http::Error| TunnelError::Http2 {
        peer,
        source: Arc::new(io::Error::other(error)),
    };
    let uri = Uri::builder()
        .authority(destination.to_string())
        .build()
        .map_err(invalid)?;
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(uri)
        .body(())
        .map_err(invalid)?;
    *request.headers_mut() = headers;
    let (response, send) = send
        .send_request(request, false)
        .map_err(|error| TunnelError::http2(peer, error))?;
    let response = response.await.map_err(|error| TunnelError::http2(peer, error))?;
    let status = response.status();
    if status != StatusCode::OK {
        return Err(TunnelError::Refused { peer, status });
    }
    Ok(Side::Stream {
        send,
        receive: response.into_body(),
        ahead: None,
    })
}

/// Where a workload's proxy listens.
pub fn peer_of(destination: SocketAddr) -> SocketAddr {
    SocketAddr::new(destination.ip(), PORT)
}

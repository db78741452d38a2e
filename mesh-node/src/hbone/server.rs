//! The server of tunnels: TLS, HTTP/2, and the CONNECT streams in it.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use mesh_model::Identity;
use mesh_runtime::drain::Drain;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::authority::Authority;
use super::channel::{self, Channel, Flush};
use super::keepalive::Keepalive;
use crate::config::HboneConfig;
use crate::identity::verify::{explain, spiffe_id};
use crate::net::budget;
use crate::net::side::Side;

/// Streams that a peer may have open in one connection (ztunnel's value).
pub const MAX_CONCURRENT_STREAMS: u32 = 200;
/// Streams of one connection that a peer may have reset before they were looked at. A peer that opens and resets
/// faster than that (CVE-2023-44487) gets GOAWAY with ENHANCE_YOUR_CALM. (hyper's value.)
const MAX_PENDING_ACCEPT_RESETS: usize = 20;
/// Streams that a peer may make this side reset by breaking the protocol (CVE-2025-8671); then GOAWAY. (hyper's value.)
const MAX_LOCAL_ERROR_RESETS: usize = 1024;
/// Streams that were reset here and are remembered for frames that were on their way (h2's value).
const MAX_REMEMBERED_RESETS: usize = 50;
/// Largest header list of a request, in bytes (ztunnel's value).
const MAX_HEADER_LIST: u32 = 64 * 1024;
/// Bytes that wait in one stream for the connection to take them (ztunnel's value).
const SEND_BUFFER: usize = 400 * 1024;

/// A peer that has proved who it is, and its connection.
pub struct Accepted {
    /// Who.
    pub identity: Identity,
    /// How long TLS took.
    pub handshake: Duration,
    /// The server name that the client sent: it says which host-network workload it wants.
    pub server_name: Option<String>,
    connection: Connection<Channel, Bytes>,
    flush: Flush,
}

/// One CONNECT request, waiting for its answer.
pub struct Stream {
    /// What to connect to.
    pub authority: Authority,
    receive: RecvStream,
    respond: SendResponse<Bytes>,
}

/// Why a peer was not let in.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// TLS did not come about.
    #[error("mutual TLS with {peer} failed: {}", explain(source))]
    Tls {
        /// The client.
        peer: SocketAddr,
        /// What TLS said.
        source: io::Error,
    },
    /// The client did not ask for HTTP/2 by ALPN.
    #[error("{peer} does not ask for HTTP/2 (ALPN h2)")]
    Protocol {
        /// The client.
        peer: SocketAddr,
    },
    /// HTTP/2 did not come about.
    #[error("HTTP/2 with {peer} failed: {source}")]
    Http2 {
        /// The client.
        peer: SocketAddr,
        /// What HTTP/2 said.
        source: h2::Error,
    },
    /// Nothing came about in time.
    #[error("{peer} did not complete its handshake within {} s", deadline.as_secs_f32())]
    Timeout {
        /// The client.
        peer: SocketAddr,
        /// How long it was waited for.
        deadline: Duration,
    },
}

// === impl AcceptError ===

impl AcceptError {
    /// The label of metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            AcceptError::Tls { .. } => "tls",
            AcceptError::Protocol { .. } => "protocol",
            AcceptError::Http2 { .. } => "http2",
            AcceptError::Timeout { .. } => "handshake_timeout",
        }
    }
}

/// Completes TLS and HTTP/2 with a client, within the deadline of `config`.
pub async fn accept(
    tcp: TcpStream,
    peer: SocketAddr,
    tls: Arc<ServerConfig>,
    config: &HboneConfig,
) -> Result<Accepted, AcceptError> {
    let deadline = config.connect_timeout;
    timeout(deadline, accept_now(tcp, peer, tls, config))
        .await
        .map_err(|_| AcceptError::Timeout { peer, deadline })?
}

async fn accept_now(
    tcp: TcpStream,
    peer: SocketAddr,
    tls: Arc<ServerConfig>,
    config: &HboneConfig,
) -> Result<Accepted, AcceptError> {
    let started = Instant::now();
    let tls_error = |source| AcceptError::Tls { peer, source };
    let client = channel::accept(tcp, &tls).await.map_err(tls_error)?;
    let handshake = started.elapsed();
    if !client.has_protocol {
        return Err(AcceptError::Protocol { peer });
    }
    // The verifier has refused every client without a certificate; this is for what the types can't say.
    let leaf = client
        .certificate
        .ok_or_else(|| tls_error(io::Error::other("the client showed no certificate")))?;
    let identity = spiffe_id(&leaf).map_err(|error| tls_error(io::Error::other(error)))?;
    let (channel, flush) = client.channel;
    let connection = h2::server::Builder::new()
        .initial_window_size(config.stream_window)
        .initial_connection_window_size(config.connection_window)
        .data_frame_budget(budget::data_frames(config.connection_window))
        .max_frame_size(config.max_frame)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .max_pending_accept_reset_streams(MAX_PENDING_ACCEPT_RESETS)
        .max_local_error_reset_streams(Some(MAX_LOCAL_ERROR_RESETS))
        .max_concurrent_reset_streams(MAX_REMEMBERED_RESETS)
        .handshake(channel)
        .await
        .map_err(|source| AcceptError::Http2 { peer, source })?;
    Ok(Accepted {
        identity,
        handshake,
        server_name: client.server_name,
        connection,
        flush,
    })
}

// === impl Accepted ===

impl Accepted {
    /// Hands every CONNECT stream to `serve` until the peer or the keepalive ends the connection. When `drain`
    /// stops, the peer gets GOAWAY, and the connection ends with the last open stream.
    pub async fn serve(
        self,
        config: &HboneConfig,
        drain: &Drain,
        mut serve: impl FnMut(Stream),
    ) -> Result<(), h2::Error> {
        let Accepted {
            mut connection,
            flush,
            ..
        } = self;
        flush.defer();
        let keepalive = Keepalive {
            interval: config.ping_interval,
            timeout: config.ping_timeout,
        };
        let ping_pong = connection.ping_pong();
        let probed = async {
            match ping_pong {
                Some(ping_pong) => keepalive.watch(ping_pong).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(probed);
        let mut is_leaving = false;
        loop {
            tokio::select! {
                request = poll_fn(|context| {
                    let polled = connection.poll_accept(context);
                    // A request is followed by the next look.
                    if !matches!(polled, Poll::Ready(Some(_))) {
                        flush.flush(context);
                    }
                    polled
                }) => match request {
                    Some(Ok((request, respond))) => {
                        if let Some(stream) = Stream::new(request, respond) {
                            serve(stream);
                        }
                    }
                    Some(Err(error)) => return Err(error),
                    None => return Ok(()),
                },
                () = drain.stopping(), if !is_leaving => {
                    is_leaving = true;
                    connection.graceful_shutdown();
                }
                () = &mut probed => {
                    connection.abrupt_shutdown(Reason::NO_ERROR);
                    return Ok(());
                }
            }
        }
    }
}

// === impl Stream ===

impl Stream {
    /// Answers what is no CONNECT request by itself.
    fn new(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Option<Self> {
        let authority = match request.method() {
            &Method::CONNECT => Authority::parse(request.uri()).map_err(|error| error.to_string()),
            method => Err(format!("the method is {method}, and only CONNECT is served")),
        };
        match authority {
            Ok(authority) => Some(Self {
                authority,
                receive: request.into_body(),
                respond,
            }),
            Err(error) => {
                tracing::info!(error, "refused a request");
                answer(&mut respond, StatusCode::BAD_REQUEST, HeaderMap::new());
                None
            }
        }
    }

    /// Returns when the client has given the request up, or is gone.
    pub async fn given_up(&mut self) {
        // A reason and an error mean the same here.
        drop(poll_fn(|context| self.respond.poll_reset(context)).await);
    }

    /// Refuses: 400, 401 or 503.
    pub fn refuse(mut self, status: StatusCode) {
        answer(&mut self.respond, status, HeaderMap::new());
    }

    /// Accepts: the application has taken the connection. `baggage` tells the client what answered.
    pub fn accept(mut self, baggage: &str) -> Result<Side, h2::Error> {
        let mut response = Response::new(());
        if let Ok(value) = HeaderValue::from_str(baggage) {
            response
                .headers_mut()
                .insert(HeaderName::from_static("baggage"), value);
        }
        let send = self.respond.send_response(response, false)?;
        Ok(Side::Stream {
            send,
            receive: self.receive,
            ahead: None,
        })
    }
}

fn answer(respond: &mut SendResponse<Bytes>, status: StatusCode, headers: HeaderMap) {
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    // Fails only when the client is gone.
    drop(respond.send_response(response, true));
}

//! The listener for nodes: TCP connections, made TLS 1.3 ones outside the accept loop, handed to the gRPC server.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use mesh_runtime::drain::Drain;
use mesh_runtime::tasks;
use rustls::crypto::aws_lc_rs;
use rustls::server::ResolvesServerCert;
use rustls_pki_types::DnsName;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

/// The port of the control plane.
const DEFAULT_PORT: u16 = 15010;
/// Connections at once: a node has one or two. More wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 4096;
/// From TCP's to TLS's completion. Two round trips, on the worst of links.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Connections between their handshake and the gRPC server.
const QUEUE: usize = 64;
/// Pause after accept() failed, for want of descriptors most likely: lets others close theirs.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// PING after this much silence, as HBONE does it: finds a node that is gone without a FIN.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// A PING without an answer for this long ends the connection.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Calls at once on a connection: a stream, and some certificates.
const MAX_CALLS: u32 = 64;
/// From a call's head to the answer's head. Signing takes less than a millisecond.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// The `[server]` table of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ServerConfig {
    /// Where nodes connect to.
    pub address: SocketAddr,
    /// The DNS name in the certificate; nodes check it against their `control.server-name`.
    pub server_name: String,
}

/// A listener that does not accept yet.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    acceptor: TlsAcceptor,
}

/// A connection whose handshake is done. Gives its place among [`MAX_CONNECTIONS`] up when it is dropped.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    _permit: OwnedSemaphorePermit,
}

type Connections = mpsc::Sender<io::Result<Connection>>;

/// The gRPC server's limits.
pub fn server() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_CALLS)
        .timeout(CALL_DEADLINE)
}

// === impl ServerConfig ===

impl ServerConfig {
    /// What is wrong with the table, naming the key.
    pub fn check(&self) -> Result<(), String> {
        match DnsName::try_from(self.server_name.as_str()) {
            Ok(_) => Ok(()),
            Err(_) => Err(format!(
                "server.server-name: '{}' is no DNS name; write one such as mesh-control",
                self.server_name
            )),
        }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            address: (Ipv6Addr::UNSPECIFIED, DEFAULT_PORT).into(),
            server_name: "mesh-control".to_owned(),
        }
    }
}

// === impl Listener ===

impl Listener {
    /// Takes the address; port 0 lets the system choose.
    pub async fn bind(address: SocketAddr, certificate: Arc<dyn ResolvesServerCert>) -> anyhow::Result<Self> {
        let socket = TcpListener::bind(address).await.with_context(|| {
            format!("server.address: cannot listen on {address}; free the port or change the address")
        })?;
        let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(certificate);
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self {
            address: socket.local_addr()?,
            socket,
            acceptor: TlsAcceptor::from(Arc::new(tls)),
        })
    }

    /// The address, with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The connections, and the task that accepts them until the drain.
    pub fn accept(
        self,
        drain: Drain,
    ) -> (
        ReceiverStream<io::Result<Connection>>,
        impl Future<Output = ()> + Send + 'static,
    ) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (ReceiverStream::new(receiver), self.run(sender, drain))
    }

    async fn run(self, connections: Connections, drain: Drain) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let next = async {
                // Never closed, so there is a place sooner or later.
                let place = Arc::clone(&places).acquire_owned().await.ok()?;
                Some((place, self.socket.accept().await))
            };
            let accepted = tokio::select! {
                () = drain.stopping() => return,
                accepted = next => accepted,
            };
            match accepted {
                Some((place, Ok((stream, peer)))) => {
                    let (acceptor, connections) = (self.acceptor.clone(), connections.clone());
                    tasks::spawn_guarded("TLS handshake", drain.guard(), async move {
                        if let Err(reason) = handshake(acceptor, stream, place, &connections).await {
                            tracing::debug!(%peer, reason, "no TLS connection came about");
                        }
                    });
                }
                Some((_, Err(error))) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                None => return,
            }
        }
    }
}

async fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    place: OwnedSemaphorePermit,
    connections: &Connections,
) -> Result<(), String> {
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let stream = tokio::time::timeout(HANDSHAKE_DEADLINE, acceptor.accept(stream))
        .await
        .map_err(|_| format!("the handshake took more than {} s", HANDSHAKE_DEADLINE.as_secs()))?
        .map_err(|error| error.to_string())?;
    let connection = Connection {
        stream,
        _permit: place,
    };
    // An error: the server has stopped.
    connections
        .send(Ok(connection))
        .await
        .map_err(|_| "the server has stopped".to_owned())
}

// === impl Connection ===

impl Connected for Connection {
    type ConnectInfo = <TlsStream<TcpStream> as Connected>::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

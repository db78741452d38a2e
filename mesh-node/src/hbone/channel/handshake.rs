//! How a channel comes about: the handshake of TLS, at either end.

use std::future::poll_fn;
use std::io;
use std::sync::{Arc, OnceLock};

use rustls::client::UnbufferedClientConnection;
use rustls::server::{ClientHello, ResolvesServerCert, UnbufferedServerConnection};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;

use super::session::{Next, Put, Session};
use super::{Channel, Flush, Wire};

/// A client that has completed its handshake.
pub struct Client {
    /// The leaf of its certificates.
    pub certificate: Option<CertificateDer<'static>>,
    /// The server name that it sent.
    pub server_name: Option<String>,
    /// Whether it asked for a protocol that the configuration has, by ALPN.
    pub has_protocol: bool,
    /// Its bytes.
    pub channel: (Channel, Flush),
}

/// Notes the server name on its way to who chooses the certificate: rustls does not tell it of a connection without buffers.
#[derive(Debug)]
struct Noting {
    resolver: Arc<dyn ResolvesServerCert>,
    name: OnceLock<String>,
}

/// Completes a handshake with a server.
pub async fn connect(
    tcp: TcpStream,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> io::Result<(Channel, Flush)> {
    let session = UnbufferedClientConnection::new(config, name).map_err(io::Error::other)?;
    let mut wire = Wire::new(tcp, Session::Client(Box::new(session)));
    wire.shake_hands().await?;
    Ok(Channel::new(wire))
}

/// Completes a handshake with a client.
pub async fn accept(tcp: TcpStream, config: &ServerConfig) -> io::Result<Client> {
    let mut config = config.clone();
    let noting = Arc::new(Noting {
        resolver: Arc::clone(&config.cert_resolver),
        name: OnceLock::new(),
    });
    config.cert_resolver = Arc::clone(&noting) as Arc<dyn ResolvesServerCert>;
    let session = UnbufferedServerConnection::new(Arc::new(config)).map_err(io::Error::other)?;
    let mut wire = Wire::new(tcp, Session::Server(Box::new(session)));
    wire.shake_hands().await?;
    let common = wire.session.common();
    Ok(Client {
        certificate: common
            .peer_certificates()
            .and_then(<[_]>::first)
            .map(|leaf| leaf.clone().into_owned()),
        server_name: noting.name.get().cloned(),
        has_protocol: common.alpn_protocol().is_some(),
        channel: Channel::new(wire),
    })
}

// === impl Wire ===

impl Wire {
    async fn shake_hands(&mut self) -> io::Result<()> {
        loop {
            match self.step() {
                Ok(Next::Again) => {}
                Ok(Next::Ready) => return poll_fn(|context| self.poll_send(context)).await,
                Ok(Next::Blocked) => {
                    poll_fn(|context| self.poll_send(context)).await?;
                    poll_fn(|context| self.poll_receive(context)).await?;
                }
                // Complete or not, which the next step tells.
                Ok(Next::Ended) => self.is_ended = true,
                Err(error) => {
                    // The peer is told why, if it still listens.
                    if matches!(self.step(), Ok(Next::Again)) {
                        drop(poll_fn(|context| self.poll_send(context)).await);
                    }
                    return Err(error);
                }
            }
        }
    }

    fn step(&mut self) -> io::Result<Next> {
        let ahead = &mut self.ahead;
        let mut give = |content: &[u8]| ahead.extend_from_slice(content);
        self.session
            .step(&mut self.inbox, &mut self.outbox, Put::Nothing, &mut give)
    }
}

// === impl Noting ===

impl ResolvesServerCert for Noting {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(name) = hello.server_name() {
            // Set once: a hello that is asked for again has the same name (RFC 8446 §4.1.2).
            drop(self.name.set(name.to_owned()));
        }
        self.resolver.resolve(hello)
    }
}

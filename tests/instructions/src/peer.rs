//! The clients and the servers. They do what they can without waiting, and then it is the data plane's turn again.

mod bytes;
mod http1;
mod http2;

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::{Context as _, Result, anyhow};

use crate::tally;
use crate::world::Protocol;

/// Connections that clients hold, each with one request at a time.
const CLIENTS: usize = 8;
/// Turns without any progress after which something is wrong. Timers of the data plane wake it now and then.
const IDLE_TURNS: u32 = 10_000;
/// Bytes of an answer's content.
pub(crate) const CONTENT: usize = 1024;

/// A client on its connection.
trait Client: Send {
    /// Sends a request.
    fn ask(&mut self) -> Result<()>;
    /// Reads; whether an answer came to its end.
    fn is_answered(&mut self) -> Result<bool>;
}

/// A server on one of its connections.
trait Server: Send {
    /// Answers what there is.
    fn serve(&mut self) -> Result<()>;
}

/// All of them.
pub(crate) struct Others {
    protocol: Protocol,
    clients: Vec<(Box<dyn Client>, bool)>,
    listener: TcpListener,
    servers: Vec<Box<dyn Server>>,
    left: u64,
    idle: u32,
    failure: Option<anyhow::Error>,
}

/// A connection that never waits.
struct Wire(TcpStream);

// === impl Others ===

impl Others {
    /// A server that listens there.
    pub(crate) fn listen(protocol: Protocol, address: SocketAddr) -> Result<(Self, SocketAddr)> {
        let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let others = Self {
            protocol,
            clients: Vec::new(),
            listener,
            servers: Vec::new(),
            left: 0,
            idle: 0,
            failure: None,
        };
        Ok((others, address))
    }

    /// Connects the clients.
    pub(crate) fn connect(&mut self, to: SocketAddr) -> Result<()> {
        for _ in 0..CLIENTS {
            let wire = Wire::new(TcpStream::connect(to)?)?;
            let client: Box<dyn Client> = match self.protocol {
                Protocol::Bytes => Box::new(bytes::Client::new(wire)),
                Protocol::Http1 => Box::new(http1::Client::new(wire)),
                Protocol::Http2 => Box::new(http2::Client::new(wire, false)?),
                Protocol::Grpc => Box::new(http2::Client::new(wire, true)?),
            };
            self.clients.push((client, false));
        }
        Ok(())
    }

    /// So many requests are to be sent, and answered.
    pub(crate) fn ask_for(&mut self, requests: u64) {
        self.left = requests;
    }

    /// A turn; true when there is nothing left to do for good.
    pub(crate) fn turn(&mut self) -> bool {
        if self.failure.is_some() {
            return true;
        }
        match self.try_turn() {
            Ok(is_done) => is_done,
            Err(error) => {
                self.failure = Some(error);
                true
            }
        }
    }

    /// Whether all went well.
    pub(crate) fn result(&mut self) -> Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }

    fn try_turn(&mut self) -> Result<bool> {
        let mut is_idle = true;
        while let Some((stream, _)) = unless_waiting(self.listener.accept())? {
            let wire = Wire::new(stream)?;
            self.servers.push(match self.protocol {
                Protocol::Bytes => Box::new(bytes::Server::new(wire)),
                Protocol::Http1 => Box::new(http1::Server::new(wire)),
                Protocol::Http2 => Box::new(http2::Server::new(wire, false)),
                Protocol::Grpc => Box::new(http2::Server::new(wire, true)),
            });
        }
        for server in &mut self.servers {
            server.serve()?;
        }
        for (client, is_waiting) in &mut self.clients {
            if *is_waiting && client.is_answered()? {
                *is_waiting = false;
                is_idle = false;
                tally::answered();
            }
            if !*is_waiting && self.left > 0 {
                client.ask()?;
                *is_waiting = true;
                is_idle = false;
                self.left -= 1;
            }
        }
        self.idle = if is_idle { self.idle + 1 } else { 0 };
        if self.idle > IDLE_TURNS {
            return Err(anyhow!(
                "the data plane does not go on: requests are left unanswered"
            ));
        }
        Ok(self.left == 0 && self.clients.iter().all(|(_, is_waiting)| !is_waiting))
    }
}

// === impl Wire ===

impl Wire {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self(stream))
    }

    /// Adds what there is to `bytes`.
    fn read(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        let mut buffer = [0; 16 * 1024];
        while let Some(count) = unless_waiting(self.0.read(&mut buffer))? {
            if count == 0 {
                return Err(anyhow!("the data plane closed a connection"));
            }
            bytes.extend_from_slice(&buffer[..count]);
        }
        Ok(())
    }

    /// Writes all of it: it is little, and fits into the socket's buffer.
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.0.write_all(bytes)?)
    }
}

/// The result of a call that does not wait; `None` when it would have had to.
fn unless_waiting<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

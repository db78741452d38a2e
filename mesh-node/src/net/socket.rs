//! Listening and connecting sockets, with the options that every socket of the mesh has.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::namespace::Namespace;

/// Connections that the kernel holds until they are accepted. The kernel cuts it down to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// Keepalive: first probe after this long without traffic, and between probes (ztunnel's values).
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(180);
/// Keepalive: unanswered probes after which the connection is dead (ztunnel's value).
const KEEPALIVE_RETRIES: u32 = 9;

/// A listening socket that hands connections out without binding them to a runtime.
#[derive(Debug)]
pub struct Listener(AsyncFd<std::net::TcpListener>);

/// Opens a listener inside a namespace; must be called within a tokio runtime, which is told of arrivals. An IPv6
/// wildcard takes IPv4 too, and falls back to IPv4 alone where the kernel has no IPv6.
pub fn listen(namespace: &Namespace, address: SocketAddr) -> io::Result<Listener> {
    let socket = namespace.enter(|| match listening_socket(address) {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && is_without_ipv6(&error) => {
            listening_socket(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))
        }
        result => result,
    })?;
    #[expect(
        deprecated,
        reason = "its successor is unsafe, for types that lose their descriptor: std's listener does not"
    )]
    let listener = AsyncFd::with_interest(socket.into(), Interest::READABLE)?;
    Ok(Listener(listener))
}

/// Connects from inside a namespace, within a deadline.
pub async fn connect(namespace: &Namespace, to: SocketAddr, deadline: Duration) -> io::Result<TcpStream> {
    let socket = namespace.enter(|| match to {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    })?;
    let stream = timeout(deadline, socket.connect(to)).await.map_err(|_| {
        let text = format!("no answer within {:.1} s", deadline.as_secs_f64());
        io::Error::new(io::ErrorKind::TimedOut, text)
    })??;
    tune(&stream)?;
    Ok(stream)
}

/// Sets what every connection of the mesh has: no delay for small writes, and probes of a silent peer.
pub fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_INTERVAL)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// What is there to be read, without taking it. `WouldBlock` when there is nothing, 0 at the peer's end.
pub fn peek(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(recv(stream.as_raw_fd(), buffer, MsgFlags::MSG_PEEK)?)
}

/// Registers a connection with the runtime anew, so that it tells of what is there to be read once more. For who was told
/// and left it there: the kernel tells of each arrival once.
pub fn rearm(stream: TcpStream) -> io::Result<TcpStream> {
    TcpStream::from_std(stream.into_std()?)
}

/// Makes closing the connection tell the peer that it failed (RST) rather than that it ended (FIN).
pub fn reset_on_close(stream: &TcpStream) {
    // Fails only on a connection that is gone already.
    drop(SockRef::from(stream).set_linger(Some(Duration::ZERO)));
}

/// An address without the IPv4-mapped form.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

// === impl Listener ===

impl Listener {
    /// The next connection, which does not block, and where it comes from.
    pub async fn accept(&self) -> io::Result<(std::net::TcpStream, SocketAddr)> {
        let accept = |listener: &std::net::TcpListener| {
            SockRef::from(listener).accept4(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)
        };
        let (socket, source) = self.0.async_io(Interest::READABLE, accept).await?;
        let source = source.as_socket().ok_or(io::ErrorKind::InvalidData)?;
        Ok((socket.into(), source))
    }
}

fn listening_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if let IpAddr::V6(v6) = address.ip() {
        socket.set_only_v6(v6 != Ipv6Addr::UNSPECIFIED)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Whether binding failed because the namespace has no IPv6.
pub fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
    )
}

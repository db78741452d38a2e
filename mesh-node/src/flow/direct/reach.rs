//! Whether one workload's network leads to another's address, found out by a connection of our own between both namespaces.
//!
//! The proxy itself connects inside the endpoint's namespace, where an address can't be anybody else's. Past the proxy the
//! client's packets go by the client's routes; that they arrive in the right namespace, and from the client's own
//! address, is tried here and not assumed. What stands in the way of one port alone is not seen: then the connection
//! itself fails, and the grant goes for some seconds.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, Socket, Type};

use std::os::fd::AsFd as _;

use crate::net::namespace::Namespace;

/// Within one node an answer takes less than a millisecond; who drops the packets is not waited for.
const DEADLINE: Duration = Duration::from_millis(200);

/// Tries; an error says why not, for people. Waits for up to twice the deadline.
pub(super) fn reaches(from: &Namespace, to: &Namespace, address: IpAddr) -> Result<(), String> {
    tried(from, to, address).map_err(|error| {
        format!("the client's network does not lead to the workload's address {address}: {error}")
    })
}

fn tried(from: &Namespace, to: &Namespace, address: IpAddr) -> io::Result<()> {
    let at = SocketAddr::new(address, 0);
    let listener = to.enter(|| TcpListener::bind(at))?;
    listener.set_nonblocking(true)?;
    let at = listener.local_addr()?;
    let client = from.enter(|| Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP)))?;
    client.connect_timeout(&at.into(), DEADLINE)?;
    let own = client.local_addr()?.as_socket();
    let end = Instant::now() + DEADLINE;
    loop {
        match listener.accept() {
            Ok((_, peer)) if Some(peer) == own => return Ok(()),
            // Somebody else, or the same with another address.
            Ok((_, peer)) if own.is_some_and(|own| own.port() == peer.port()) => {
                let text = format!("it changes the client's address, which arrives as {}", peer.ip());
                return Err(io::Error::other(text));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(io::Error::other("somebody else answers there"));
                }
                let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
                poll(&mut [PollFd::new(listener.as_fd(), PollFlags::POLLIN)], timeout)?;
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_its_own_is_reached_and_a_strangers_is_not() {
        let home = Namespace::home().unwrap();
        reaches(&home, &home, "127.0.0.1".parse().unwrap()).unwrap();
        let error = reaches(&home, &home, "192.0.2.1".parse().unwrap()).unwrap_err();
        assert!(error.contains("192.0.2.1"), "{error}");
    }
}

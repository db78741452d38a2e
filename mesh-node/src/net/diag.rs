//! The kernel's own view of TCP sockets (sock_diag(7)): how many bytes a connection of a workload has carried, and ending it.
//!
//! Netlink messages as in include/uapi/linux/netlink.h, sock_diag.h and inet_diag.h; of those only the few that are needed.
//! Every question names one socket by its addresses and its cookie, so that another one with the same addresses is
//! never meant.

use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::namespace::Namespace;

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `SOCK_DESTROY`.
const DESTROY: u16 = 21;
/// `NLMSG_ERROR`, which is also the acknowledgement.
const ERROR: u16 = 2;
/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;
/// `NLM_F_ACK`.
const ACKNOWLEDGE: u16 = 4;
/// `INET_DIAG_INFO`, an attribute with `struct tcp_info`.
const INFO: u16 = 2;
/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Length of `struct inet_diag_msg`.
const MESSAGE: usize = 72;
/// Where `struct tcp_info` has `tcpi_bytes_acked`; `tcpi_bytes_received` follows.
const BYTES_ACKED: usize = 120;
/// The kernel answers within the call; an answer that is later than this does not come.
const DEADLINE: Duration = Duration::from_secs(1);
/// No cookie: any socket with these addresses (`INET_DIAG_NOCOOKIE`).
const ANY: u64 = u64::MAX;

/// Asks about the sockets of one network namespace.
#[derive(Debug)]
pub struct Diag {
    netlink: OwnedFd,
}

/// One TCP socket.
#[derive(Debug, Clone, Copy)]
pub struct Socket {
    /// Its own address.
    pub local: SocketAddr,
    /// Its peer's.
    pub remote: SocketAddr,
    /// `SO_COOKIE`.
    pub cookie: u64,
}

/// What a connection has carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// Bytes that the peer has acknowledged; SYN and FIN count one each.
    pub acknowledged: u64,
    /// Bytes that have come from the peer; its FIN counts one.
    pub received: u64,
}

// === impl Diag ===

impl Diag {
    /// For a namespace.
    pub fn open(namespace: &Namespace) -> io::Result<Self> {
        let netlink = namespace.enter(|| {
            let (kind, flags) = (SockType::Raw, SockFlag::SOCK_CLOEXEC);
            Ok(socket(
                AddressFamily::Netlink,
                kind,
                flags,
                SockProtocol::NetlinkSockDiag,
            )?)
        })?;
        let deadline = TimeVal::seconds(i64::try_from(DEADLINE.as_secs()).unwrap_or(1));
        setsockopt(&netlink, sockopt::ReceiveTimeout, &deadline)?;
        Ok(Self { netlink })
    }

    /// Ends a connection: its program gets ECONNABORTED, its peer a reset. `false`: it was over already.
    pub fn destroy(&self, socket: &Socket) -> io::Result<bool> {
        let answer = self.ask(&request(DESTROY, ACKNOWLEDGE, 0, socket))?;
        match error_of(&answer) {
            None | Some(0) => Ok(true),
            Some(libc::ENOENT) => Ok(false),
            Some(code) => Err(io::Error::from_raw_os_error(code)),
        }
    }

    /// What a connection has carried; `None`: it is over.
    pub fn carried(&self, socket: &Socket) -> io::Result<Option<Carried>> {
        let answer = self.ask(&request(BY_FAMILY, 0, 1 << (INFO - 1), socket))?;
        match error_of(&answer) {
            None => Ok(carried(&answer)),
            Some(0 | libc::ENOENT) => Ok(None),
            Some(code) => Err(io::Error::from_raw_os_error(code)),
        }
    }

    fn ask(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        send(self.netlink.as_raw_fd(), request, MsgFlags::empty())?;
        let mut answer = vec![0; 2048];
        let length = recv(self.netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        answer.truncate(length);
        Ok(answer)
    }
}

/// Whether the kernel ends connections when it is asked to (CONFIG_INET_DIAG_DESTROY), found out with a connection of our
/// own. An error says why not.
pub fn can_destroy() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect_timeout(&listener.local_addr()?, DEADLINE)?;
    client.set_read_timeout(Some(DEADLINE))?;
    let socket = Socket {
        local: client.local_addr()?,
        remote: client.peer_addr()?,
        cookie: ANY,
    };
    let unable =
        |what: &str| io::Error::other(format!("the kernel {what}; it needs CONFIG_INET_DIAG_DESTROY"));
    match Diag::open(&Namespace::home()?)?.destroy(&socket) {
        Ok(true) => {}
        Ok(false) => return Err(unable("does not find a connection that there is")),
        Err(error) => return Err(unable(&format!("does not end connections: {error}"))),
    }
    match client.read(&mut [0]) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => Ok(()),
        _ => Err(unable("said that it ended a connection, and did not")),
    }
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
fn request(kind: u16, flags: u16, attributes: u8, socket: &Socket) -> Vec<u8> {
    let (local, remote) = (canonical(socket.local), canonical(socket.remote));
    let family = if local.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let mut bytes = Vec::with_capacity(72);
    bytes.extend([0; 4]); // length, below
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((REQUEST | flags).to_ne_bytes());
    bytes.extend([0; 8]); // sequence and port: one question at a time
    bytes.extend([u8::try_from(family).unwrap_or_default(), 6, attributes, 0]);
    bytes.extend(u32::MAX.to_ne_bytes()); // in whatever state
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(remote.port().to_be_bytes());
    for address in [local.ip(), remote.ip()] {
        match address {
            IpAddr::V4(address) => {
                bytes.extend(address.octets());
                bytes.extend([0; 12]);
            }
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    bytes.extend([0; 4]); // at whatever device
    // Two words, the lower first.
    let (low, high) = (socket.cookie & u64::from(u32::MAX), socket.cookie >> 32);
    for word in [low, high] {
        bytes.extend(u32::try_from(word).unwrap_or_default().to_ne_bytes());
    }
    let length = u32::try_from(bytes.len()).unwrap_or_default().to_ne_bytes();
    bytes[..4].copy_from_slice(&length);
    bytes
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The error of an answer that is one, 0 for an acknowledgement; `None` for an answer that is none.
fn error_of(answer: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let code = answer.get(HEADER..HEADER + 4)?.try_into().ok()?;
    (kind == ERROR).then(|| -i32::from_ne_bytes(code))
}

fn carried(answer: &[u8]) -> Option<Carried> {
    let mut attributes = answer.get(HEADER + MESSAGE..)?;
    loop {
        let length = usize::from(u16::from_ne_bytes(attributes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(attributes.get(2..4)?.try_into().ok()?);
        let value = attributes.get(4..length)?;
        if kind == INFO {
            let at = |place: usize| Some(u64::from_ne_bytes(value.get(place..place + 8)?.try_into().ok()?));
            return Some(Carried {
                acknowledged: at(BYTES_ACKED)?,
                received: at(BYTES_ACKED + 8)?,
            });
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_one_socket() {
        let socket = Socket {
            local: "10.0.0.1:4000".parse().unwrap(),
            remote: "10.0.0.2:80".parse().unwrap(),
            cookie: 0x1_0000_0002,
        };
        let bytes = request(DESTROY, ACKNOWLEDGE, 0, &socket);
        assert_eq!(bytes.len(), 72);
        assert_eq!(bytes[..8], [72, 0, 0, 0, 21, 0, 5, 0]);
        assert_eq!(bytes[HEADER..HEADER + 4], [2, 6, 0, 0]);
        assert_eq!(bytes[24..28], [0x0f, 0xa0, 0, 80], "ports in network order");
        assert_eq!(bytes[28..32], [10, 0, 0, 1]);
        assert_eq!(bytes[44..48], [10, 0, 0, 2]);
        assert_eq!(bytes[64..], [2, 0, 0, 0, 1, 0, 0, 0]);
        let mapped = Socket {
            local: "[::ffff:10.0.0.1]:4000".parse().unwrap(),
            remote: "[::ffff:10.0.0.2]:80".parse().unwrap(),
            ..socket
        };
        assert_eq!(request(DESTROY, ACKNOWLEDGE, 0, &mapped), bytes);
    }

    #[test]
    fn answers_are_told_apart() {
        let mut answer = vec![0; HEADER + 4];
        answer[4..6].copy_from_slice(&ERROR.to_ne_bytes());
        assert_eq!(error_of(&answer), Some(0));
        answer[HEADER..].copy_from_slice(&(-libc::ENOENT).to_ne_bytes());
        assert_eq!(error_of(&answer), Some(libc::ENOENT));
        answer[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
        assert_eq!(error_of(&answer), None);
        assert_eq!(carried(&answer), None, "cut short");
    }

    #[test]
    fn reads_the_bytes_of_a_connection_of_its_own() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        io::Write::write_all(&mut &client, b"hello").unwrap();
        server.read_exact(&mut [0; 5]).unwrap();
        let socket = Socket {
            local: client.local_addr().unwrap(),
            remote: client.peer_addr().unwrap(),
            cookie: ANY,
        };
        let diag = Diag::open(&Namespace::home().unwrap()).unwrap();
        let carried = diag.carried(&socket).unwrap().unwrap();
        assert_eq!(carried.received, 0);
        assert!(carried.acknowledged <= 6, "{carried:?}");
    }
}

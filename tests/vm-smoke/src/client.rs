//! A client in a process of its own: it joins a cgroup, connects, and reports what it saw. The process is this
//! program again (`mesh-vm-smoke client <request>`), since cgroups belong to processes.

use std::{
    fs,
    io::{self, Read as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::namespace::Namespace;

/// Longest that one connect, or one answer, may take: everything happens on the loopback, under emulation at worst.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a client is to do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Request {
    /// Directory of the cgroup to join before the sockets are made.
    pub cgroup: Option<PathBuf>,
    /// Directory of the cgroup to move to between making a socket and connecting it.
    pub move_to: Option<PathBuf>,
    /// Where to connect, one after another.
    pub targets: Vec<SocketAddr>,
    /// How many times over.
    pub repeat: u32,
    /// Use one socket for all targets.
    pub one_socket: bool,
    /// Use UDP.
    pub udp: bool,
}

/// What came of one connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Where to.
    pub target: SocketAddr,
    /// Error number of connect, if it failed.
    pub errno: Option<i32>,
    /// getpeername.
    pub peer: Option<SocketAddr>,
    /// getsockname.
    pub local: Option<SocketAddr>,
    /// What the server said until it closed.
    pub reply: String,
}

impl Request {
    /// One connect to each target from a cgroup.
    pub fn new(cgroup: &Path, targets: &[SocketAddr]) -> Self {
        Self {
            cgroup: Some(cgroup.to_path_buf()),
            targets: targets.to_vec(),
            repeat: 1,
            ..Self::default()
        }
    }

    /// Runs it in a process of its own, in a namespace if one is given.
    pub fn run(&self, program: &Path, namespace: Option<&Namespace>) -> Result<Vec<Attempt>> {
        let request = serde_json::to_string(self)?;
        let spawn = || -> Result<_> {
            let child = Command::new(program)
                .args(["client", &request])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .with_context(|| format!("start {}", program.display()))?;
            Ok(child)
        };
        let child = match namespace {
            Some(namespace) => namespace.enter(spawn)?,
            None => spawn()?,
        };
        let output = child.wait_with_output()?;
        ensure!(
            output.status.success(),
            "the client failed: code {:?}, signal {:?}",
            output.status.code(),
            output.status.signal()
        );
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// The client's side: does what is asked, in this process.
    pub fn perform(&self) -> Result<Vec<Attempt>> {
        if let Some(cgroup) = &self.cgroup {
            join(cgroup)?;
        }
        let mut attempts = Vec::new();
        let mut shared = None;
        for target in (0..self.repeat).flat_map(|_| &self.targets) {
            let socket = match shared.take() {
                Some(socket) => socket,
                None => self.socket(*target)?,
            };
            if let Some(cgroup) = &self.move_to {
                join(cgroup)?;
            }
            attempts.push(self.attempt(&socket, *target)?);
            shared = self.one_socket.then_some(socket);
        }
        Ok(attempts)
    }

    fn socket(&self, target: SocketAddr) -> io::Result<Socket> {
        let (kind, protocol) = if self.udp {
            (Type::DGRAM, Protocol::UDP)
        } else {
            (Type::STREAM, Protocol::TCP)
        };
        let socket = Socket::new(Domain::for_address(target), kind, Some(protocol))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(socket)
    }

    fn attempt(&self, mut socket: &Socket, target: SocketAddr) -> Result<Attempt> {
        let mut attempt = Attempt {
            target,
            errno: None,
            peer: None,
            local: None,
            reply: String::new(),
        };
        if let Err(error) = socket.connect(&SockAddr::from(target)) {
            attempt.errno = Some(
                error
                    .raw_os_error()
                    .context("connect failed without an error number")?,
            );
            return Ok(attempt);
        }
        attempt.peer = socket.peer_addr()?.as_socket();
        attempt.local = socket.local_addr()?.as_socket();
        if !self.udp {
            socket.read_to_string(&mut attempt.reply)?;
        }
        Ok(attempt)
    }
}

/// Puts this process into a cgroup.
pub fn join(cgroup: &Path) -> Result<()> {
    let procs = cgroup.join("cgroup.procs");
    fs::write(&procs, std::process::id().to_string()).with_context(|| format!("write {}", procs.display()))
}

/// An address of TEST-NET-like use that no route leads to: only a rewritten connect can succeed.
pub const FAR_V4: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)), 80);
/// As [`FAR_V4`], over IPv6.
pub const FAR_V6: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    80,
);

/// [`FAR_V4`] as an IPv6 socket reaches it: `::ffff:10.1.2.3`.
pub fn far_mapped() -> SocketAddr {
    SocketAddr::new(
        std::net::IpAddr::V6(Ipv4Addr::new(10, 1, 2, 3).to_ipv6_mapped()),
        80,
    )
}

//! TCP sockets made by a process in a place, handed to this one.
//!
//! The kernel programs act on the cgroup of the process that makes a socket and connects it. So a forked child enters
//! the place, makes the socket, connects or listens, and passes the descriptor back (SCM_RIGHTS, unix(7)); the test
//! goes on with it in plain std.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    self, AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    SockaddrStorage, sockopt,
};
use nix::sys::time::TimeVal;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};

use crate::place::Place;

/// What the parent waits beyond the child's own deadline: the move into a cgroup may take a grace period of RCU.
const SLACK: Duration = Duration::from_secs(5);

/// The outcome of connect(2), as the workload would see it; the outer error is the harness's.
pub(crate) fn connect(place: &Place, to: SocketAddr, deadline: Duration) -> Result<io::Result<TcpStream>> {
    make(place, to, Task::Connect, deadline).map(|made| made.map(TcpStream::from))
}

/// A listening socket.
pub(crate) fn listen(place: &Place, at: SocketAddr) -> Result<TcpListener> {
    let made = make(place, at, Task::Listen, Duration::from_secs(1))?;
    Ok(TcpListener::from(made.with_context(|| {
        format!("listen at {at} in {}", place.name())
    })?))
}

#[derive(Clone, Copy)]
enum Task {
    Connect,
    Listen,
}

#[expect(
    unsafe_code,
    reason = "only a process of the cgroup can make the socket, and only fork gives one cheaply"
)]
fn make(place: &Place, address: SocketAddr, task: Task, deadline: Duration) -> Result<io::Result<OwnedFd>> {
    let netns = place.netns().open()?;
    let cgroup = place.cgroup_entrance()?;
    let (ours, theirs) = socket::socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    socket::setsockopt(&ours, sockopt::ReceiveTimeout, &time_value(deadline + SLACK)?)?;
    let address = SockaddrStorage::from(address);
    let deadline = time_value(deadline)?;
    // SAFETY: the child makes system calls on values made before the fork, and ends with _exit. The one allocation,
    // in sendmsg, is allowed: glibc makes its allocator usable in a forked child of a process with threads.
    match unsafe { fork() }.context("fork")? {
        ForkResult::Child => {
            let made = enter_and_make(&netns, cgroup, &address, task, deadline);
            let code = made.as_ref().err().map_or(0, |errno| *errno as i32).to_ne_bytes();
            let descriptors: Vec<RawFd> = made.iter().map(AsRawFd::as_raw_fd).collect();
            let rights = [ControlMessage::ScmRights(&descriptors)];
            let control: &[ControlMessage<'_>] = if descriptors.is_empty() { &[] } else { &rights };
            let sent = socket::sendmsg::<()>(
                theirs.as_raw_fd(),
                &[IoSlice::new(&code)],
                control,
                MsgFlags::empty(),
                None,
            );
            // SAFETY: _exit(2) runs no destructor of the parent's that the fork copied.
            unsafe { libc::_exit(i32::from(sent.is_err())) }
        }
        ForkResult::Parent { child } => {
            drop(theirs);
            let received = receive(&ours);
            if received.is_err() {
                let _gone = nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL);
            }
            waitpid(child, None).context("reap the socket maker")?;
            received.with_context(|| format!("no answer from the socket maker in {}", place.name()))
        }
    }
}

fn enter_and_make(
    netns: &File,
    mut cgroup: File,
    address: &SockaddrStorage,
    task: Task,
    deadline: TimeVal,
) -> nix::Result<OwnedFd> {
    cgroup
        .write_all(b"0")
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    setns(netns, CloneFlags::CLONE_NEWNET)?;
    let family = if address.as_sockaddr_in6().is_some() {
        AddressFamily::Inet6
    } else {
        AddressFamily::Inet
    };
    let made = socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    match task {
        Task::Connect => {
            // socket(7): a connect that exceeds the send timeout fails with EINPROGRESS.
            socket::setsockopt(&made, sockopt::SendTimeout, &deadline)?;
            socket::connect(made.as_raw_fd(), address)?;
            socket::setsockopt(&made, sockopt::SendTimeout, &TimeVal::new(0, 0))?;
        }
        Task::Listen => {
            socket::setsockopt(&made, sockopt::ReuseAddr, &true)?;
            socket::bind(made.as_raw_fd(), address)?;
            socket::listen(&made, Backlog::MAXCONN)?;
        }
    }
    Ok(made)
}

#[expect(unsafe_code, reason = "a received descriptor is a bare number")]
fn receive(channel: &OwnedFd) -> Result<io::Result<OwnedFd>> {
    let mut code = [0u8; 4];
    let mut space = nix::cmsg_space!(RawFd);
    let mut parts = [IoSliceMut::new(&mut code)];
    let message = socket::recvmsg::<()>(
        channel.as_raw_fd(),
        &mut parts,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    if message.bytes == 0 {
        bail!("it ended early");
    }
    let descriptor = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
        _ => None,
    });
    match (i32::from_ne_bytes(code), descriptor) {
        // SAFETY: the kernel has just installed the descriptor for this process, and nothing else knows of it.
        (0, Some(descriptor)) => Ok(Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })),
        (0, None) => bail!("it sent no descriptor"),
        (errno, _) => Ok(Err(io::Error::from_raw_os_error(errno))),
    }
}

fn time_value(duration: Duration) -> Result<TimeVal> {
    Ok(TimeVal::new(
        duration.as_secs().try_into()?,
        duration.subsec_micros().into(),
    ))
}

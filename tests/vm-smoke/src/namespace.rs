//! A network namespace of its own, kept alive by a descriptor.

use std::{
    fs::File,
    net::{Ipv4Addr, Ipv6Addr, UdpSocket},
    os::fd::AsFd as _,
    process::Command,
    thread,
};

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, setns, unshare};

/// Addresses that every namespace made here has on its loopback.
pub const V4: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2)];
/// As [`V4`].
pub const V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 2),
];

/// A network namespace; gone when nothing uses it any more.
#[derive(Debug)]
pub struct Namespace(File);

impl Namespace {
    /// Makes one with the loopback up and [`V4`] and [`V6`] on it.
    pub fn new() -> Result<Self> {
        on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("unshare the network namespace")?;
            ip(&["link", "set", "lo", "up"])?;
            for address in V4 {
                ip(&["addr", "add", &format!("{address}/32"), "dev", "lo"])?;
            }
            for address in V6 {
                ip(&["-6", "addr", "add", &format!("{address}/128"), "dev", "lo"])?;
            }
            Ok(Self(File::open("/proc/thread-self/ns/net")?))
        })
    }

    /// Runs something inside: sockets made and processes started there belong to it.
    pub fn enter<T: Send>(&self, run: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_thread(|| {
            setns(self.0.as_fd(), CloneFlags::CLONE_NEWNET).context("enter the network namespace")?;
            run()
        })
    }

    /// Its cookie.
    pub fn cookie(&self) -> Result<u64> {
        self.enter(own_cookie)
    }
}

/// Cookie of the namespace that the caller is in.
pub fn own_cookie() -> Result<u64> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    mesh_node::capture::netns_cookie(socket.as_fd()).context("read SO_NETNS_COOKIE")
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("run ip")?;
    ensure!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// A namespace belongs to a thread: a thread that changed it must not be used for anything else.
fn on_thread<T: Send>(run: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let joined = scope.spawn(run).join();
        joined.unwrap_or_else(|_| Err(anyhow::anyhow!("the thread in the namespace panicked")))
    })
}

//! A stand-in for the proxy: listens, asks capture at each accept, and answers what it learned.

use std::{
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use mesh_node::capture::Capture;
use socket2::{Domain, Socket, Type};

use crate::namespace::Namespace;

/// How long a listener sleeps when nobody has come.
const PAUSE: Duration = Duration::from_millis(1);
/// As many as a burst of the checks can have waiting.
const BACKLOG: i32 = 4096;
/// Tries to find a port that is free for both families.
const TRIES: u32 = 32;

/// Listeners with their threads; they end when this is dropped.
#[derive(Debug, Default)]
pub struct Listeners {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Two listeners on one port.
#[derive(Debug)]
pub struct Pair {
    /// Both sockets.
    pub sockets: [TcpListener; 2],
    /// Their port.
    pub port: u16,
}

impl Pair {
    /// Listens on both addresses, on a port that the kernel chooses.
    pub fn bind(v4: Ipv4Addr, v6: Ipv6Addr) -> Result<Self> {
        let mut last = None;
        for _ in 0..TRIES {
            let first = listen(SocketAddr::new(IpAddr::V4(v4), 0))?;
            let port = first.local_addr()?.port();
            match listen(SocketAddr::new(IpAddr::V6(v6), port)) {
                Ok(second) => {
                    return Ok(Self {
                        sockets: [first, second],
                        port,
                    });
                }
                Err(error) => last = Some(error),
            }
        }
        anyhow::bail!("no port is free for {v4} and {v6}: {last:?}")
    }

    /// Listens on both loopback addresses.
    pub fn loopback() -> Result<Self> {
        Self::bind(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST)
    }

    /// Listens on a given port of both loopback addresses.
    pub fn loopback_on(port: u16) -> Result<Self> {
        let bind =
            |ip: IpAddr| listen(SocketAddr::new(ip, port)).with_context(|| format!("listen on port {port}"));
        Ok(Self {
            sockets: [
                bind(Ipv4Addr::LOCALHOST.into())?,
                bind(Ipv6Addr::LOCALHOST.into())?,
            ],
            port,
        })
    }

    /// Listens inside a namespace.
    pub fn inside(namespace: &Namespace, v4: Ipv4Addr, v6: Ipv6Addr) -> Result<Self> {
        namespace.enter(|| Self::bind(v4, v6))
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

impl Listeners {
    /// Answers every connection with the flow that capture knows: `captured <destination> <slot>` or `unknown`.
    pub fn proxy(&mut self, pair: Pair, capture: &Arc<Capture>, cookie: u64) {
        for socket in pair.sockets {
            let capture = Arc::clone(capture);
            self.serve(socket, move |peer| match capture.take_flow(cookie, peer) {
                Some(flow) => format!("captured {} {}", flow.destination, flow.slot),
                None => "unknown".to_owned(),
            });
        }
    }

    /// Answers every connection with `direct`: a server that the mesh knows nothing of.
    pub fn plain(&mut self, pair: Pair) {
        for socket in pair.sockets {
            self.serve(socket, |_| "direct".to_owned());
        }
    }

    fn serve(&mut self, socket: TcpListener, answer: impl Fn(SocketAddr) -> String + Send + 'static) {
        let stop = Arc::clone(&self.stop);
        self.threads.push(thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                match socket.accept() {
                    // A client that went away meanwhile sees for itself that there is no answer.
                    Ok((stream, peer)) => drop(say(stream, &answer(peer))),
                    Err(_) => thread::sleep(PAUSE),
                }
            }
        }));
    }
}

fn say(mut stream: TcpStream, text: &str) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.write_all(text.as_bytes())
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already, and its clients saw no answer.
            thread.join().ok();
        }
    }
}

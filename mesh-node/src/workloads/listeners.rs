//! The listeners inside a workload's network namespace, and their accept loops.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use mesh_runtime::drain::Drain;
use mesh_runtime::tasks::Tasks;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::flow::context::Context;
use crate::flow::{inbound, outbound};
use crate::identity::tls::Shown;
use crate::net::cores::{Cores, Kind};
use crate::net::namespace::Namespace;
use crate::net::socket::{self, Listener};

/// The port that captured connections are redirected to.
pub const OUTBOUND_PORT: u16 = 15001;
/// Pause after accept() failed for want of something (file descriptors, memory), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Clients of one listener that may be about to prove who they are at the same time. A handshake takes a few
/// milliseconds and 10 s at most, so that more than this many are no clients; each takes a file descriptor and up to
/// 70 KiB of the whole node, and with this bound they do not take all of them.
const MAX_HANDSHAKES: usize = 512;
/// A listener that can't accept says so this often: every workload has two of them.
const TELLING: Duration = Duration::from_secs(5);
/// How long aborted accept loops may take to let go of their listeners: their threads are busy at most for one
/// connection's turn.
const CLOSING: Duration = Duration::from_secs(1);

/// Why the listeners could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address can't be listened at.
    #[error(
        "cannot listen at {address} in the workload's network namespace: {source}; is another mesh running there?"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The TLS configuration can't be made.
    #[error("cannot prepare TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// The listeners of one namespace. Closed when this is dropped, though not at once; accepted connections go on.
#[derive(Debug)]
pub struct Listeners {
    accepting: Tasks,
    /// Ends when the last listener is closed.
    open: Receiver<()>,
}

/// Opens both listeners inside a namespace. `released` cuts the tunnels that were accepted there; without it they are
/// shared by several workloads, and end with their streams.
pub fn open(
    context: &Arc<Context>,
    cores: &Cores,
    namespace: &Arc<Namespace>,
    shown: Shown,
    released: Option<&Drain>,
) -> Result<Listeners, ListenError> {
    // Any of them: accepting is little work, and each connection goes to where it has the most room.
    let runtime = cores.runtime(fastrand::usize(..));
    let _within = runtime.enter();
    let accepting = Tasks::new();
    let (is_open, open) = mpsc::sync_channel(0);
    // On the host's network nobody but the host itself may reach the outbound listener.
    let outbound: &[SocketAddr] = match shown {
        Shown::One(_) => &[SocketAddr::new(
            std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            OUTBOUND_PORT,
        )],
        Shown::HostNetwork => &[
            SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), OUTBOUND_PORT),
            SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::LOCALHOST), OUTBOUND_PORT),
        ],
    };
    for address in outbound {
        let Some(listener) = bind(namespace, *address)? else {
            continue;
        };
        let (context, namespace) = (Arc::clone(context), Arc::clone(namespace));
        let cores = cores.clone();
        let serve = move |stream, source, _place| {
            let (context, namespace) = (Arc::clone(&context), Arc::clone(&namespace));
            let guard = context.drain.guard();
            cores.seat(Kind::Client).spawn("outbound", guard, async move {
                if let Some(stream) = adopt(stream) {
                    outbound::serve(context, namespace, stream, source).await;
                }
            });
        };
        // Who a captured connection belongs to is known at once: its place is free again before the next is taken.
        let places = Arc::new(Semaphore::new(1));
        accepting.spawn_on(
            runtime,
            "accept outbound",
            accept(is_open.clone(), listener, places, serve),
        );
    }
    let address = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), crate::hbone::PORT);
    let tls = context.tls.server(shown, Arc::clone(&context.locals) as _)?;
    if let Some(listener) = bind(namespace, address)? {
        let entrance = Arc::new(inbound::Listener {
            namespace: Arc::clone(namespace),
            tls,
        });
        let (context, released) = (Arc::clone(context), released.cloned());
        let cores = cores.clone();
        let serve = move |stream, source, place| {
            let (context, entrance) = (Arc::clone(&context), Arc::clone(&entrance));
            let (released, guard) = (released.clone(), context.drain.guard());
            cores
                .seat(Kind::Tunnel)
                .spawn("tunnel server", guard, async move {
                    let Some(stream) = adopt(stream) else { return };
                    let cut = async {
                        match released {
                            Some(released) => released.stopping().await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        () = inbound::serve(context, entrance, (stream, source), place) => {}
                        () = cut => {}
                    }
                });
        };
        let places = Arc::new(Semaphore::new(MAX_HANDSHAKES));
        accepting.spawn_on(
            runtime,
            "accept tunnels",
            accept(is_open, listener, places, serve),
        );
    }
    Ok(Listeners { accepting, open })
}

// === impl Listeners ===

impl Listeners {
    /// Closes them, and waits until the addresses are free. Not to be called by a thread that runs tasks.
    pub fn close(self) {
        drop(self.accepting);
        // Nothing is ever sent: it ends with the last of those who could.
        if self.open.recv_timeout(CLOSING) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(deadline = ?CLOSING, "listeners of a workload are slow to close");
        }
    }
}

/// Listens; `None` for a loopback address of IPv6 where the namespace has no IPv6.
fn bind(namespace: &Namespace, address: SocketAddr) -> Result<Option<Listener>, ListenError> {
    match socket::listen(namespace, address) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if address.ip() == Ipv6Addr::LOCALHOST && socket::is_without_ipv6(&error) => Ok(None),
        Err(source) => Err(ListenError::Bind { address, source }),
    }
}

/// Accepts while there are places; who finds none waits in the kernel's queue. Parameters are dropped from the last
/// to the first: `_is_open` goes after the listener.
async fn accept(
    _is_open: SyncSender<()>,
    listener: Listener,
    places: Arc<Semaphore>,
    serve: impl Fn(std::net::TcpStream, SocketAddr, OwnedSemaphorePermit),
) {
    let mut refused: Option<Instant> = None;
    // An error means that the semaphore is closed, which it never is.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, source)) => {
                if refused.take().is_some() {
                    tracing::info!("accepting connections again");
                }
                serve(stream, source, place);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if refused.is_none_or(|told| told.elapsed() >= TELLING) {
                    refused = Some(Instant::now());
                    tracing::error!(%error, "cannot accept connections: they wait in the kernel's queue; trying again");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Binds a connection to the calling thread's runtime.
fn adopt(stream: std::net::TcpStream) -> Option<TcpStream> {
    match TcpStream::from_std(stream) {
        Ok(stream) => Some(stream),
        Err(error) => {
            tracing::error!(%error, "cannot watch a connection: it is closed");
            None
        }
    }
}

/// Errors that concern the connection that was to be accepted, and not the listener (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

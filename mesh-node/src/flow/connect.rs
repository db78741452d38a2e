//! Connecting to one address for a local workload: on this node, through a tunnel, or in clear.
//!
//! The choice follows from what the snapshot says of the address. There is no falling back from a tunnel to clear
//! text: a workload of the mesh is reached through its proxy or not at all.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_model::{NetworkMode, Workload};
use mesh_runtime::drain::Drain;
use tokio::time::timeout;

use super::context::Context;
use super::failure::Failure;
use crate::hbone::client::{self, Endpoint, TunnelError};
use crate::hbone::headers::request_headers;
use crate::hbone::pool::{Departure, Key, Lease};
use crate::identity::tls::host_server_name;
use crate::local::LocalWorkload;
use crate::net::cores;
use crate::net::io::SideIo;
use crate::net::side::Side;
use crate::net::socket;

/// Times that a stream is asked for anew when the pooled connection turns out to be dead.
const STALE_RETRIES: usize = 2;

/// One address to connect to, and what is known of it.
#[derive(Debug, Clone)]
pub struct Hop {
    /// The address.
    pub address: SocketAddr,
    /// The workload there.
    pub workload: Option<Arc<Workload>>,
    /// Longest wait for the connection, of a Service's policy. `None`: as the node is configured.
    pub connect_timeout: Option<Duration>,
}

/// A connection to a hop.
#[derive(Debug)]
pub struct Connected {
    /// Its bytes.
    pub side: Side,
    /// The peer's SPIFFE ID; empty when it has proved none.
    pub peer: String,
    /// `hbone`, `local` or `plaintext`.
    pub transport: &'static str,
    /// Stops when the destination is released, if it is a workload of this node.
    destination: Option<Drain>,
    /// Held for as long as the stream is.
    lease: Option<Lease>,
}

/// Connects `source` to the hop, within the configured deadlines.
pub async fn connect(
    context: &Context,
    source: &LocalWorkload,
    client: SocketAddr,
    hop: &Hop,
) -> Result<Connected, Failure> {
    let deadline = hop.connect_timeout.unwrap_or(context.outbound.connect_timeout);
    match &hop.workload {
        Some(workload) if workload.is_enrolled() && workload.node == context.node => {
            locally(context, workload, hop.address, deadline).await
        }
        Some(workload) if workload.is_enrolled() => {
            let connected = through_tunnel(context, source, client, workload, hop);
            match hop.connect_timeout {
                Some(deadline) => timeout(deadline, connected)
                    .await
                    .map_err(|_| TunnelError::Timeout {
                        peer: client::peer_of(hop.address),
                        deadline,
                    })?,
                None => connected.await,
            }
        }
        _ => in_clear(source, hop.address, deadline).await,
    }
}

async fn locally(
    context: &Context,
    workload: &Workload,
    address: SocketAddr,
    deadline: Duration,
) -> Result<Connected, Failure> {
    let Some(local) = context.locals.by_name(&workload.name) else {
        let text = format!(
            "the workload {} is on this node, but has no processes here yet",
            workload.name
        );
        return Err(Failure::Connect {
            address,
            source: std::io::Error::other(text),
        });
    };
    let failed = |source| Failure::Connect { address, source };
    let stream = socket::connect(&local.namespace, address, deadline)
        .await
        .map_err(failed)?;
    // What connects to an address of its own namespace does so from that address. From any other, the connection
    // has left the namespace, in clear and to whomever: the manifest's address is wrong, or another workload's now.
    if socket::canonical(stream.local_addr().map_err(failed)?).ip() != address.ip() {
        let text = format!("the workload {} does not have this address", workload.name);
        return Err(failed(std::io::Error::other(text)));
    }
    let mut connected = Connected::new(Side::Tcp(stream), workload.identity.to_string(), "local");
    connected.destination = Some(local.drain.clone());
    Ok(connected)
}

async fn in_clear(
    source: &LocalWorkload,
    address: SocketAddr,
    deadline: Duration,
) -> Result<Connected, Failure> {
    let stream = socket::connect(&source.namespace, address, deadline)
        .await
        .map_err(|source| Failure::Connect { address, source })?;
    Ok(Connected::new(Side::Tcp(stream), String::new(), "plaintext"))
}

async fn through_tunnel(
    context: &Context,
    source: &LocalWorkload,
    client: SocketAddr,
    workload: &Workload,
    hop: &Hop,
) -> Result<Connected, Failure> {
    let address = hop.address;
    let own = context.identities.wait(&source.workload.identity).await?;
    let peer = client::peer_of(address);
    let server_name = match workload.network {
        NetworkMode::Own => None,
        NetworkMode::Host => host_server_name(&workload.identity),
    };
    let endpoint = Endpoint {
        namespace: Arc::clone(&source.namespace),
        peer,
        expected: workload.identity.clone(),
        server_name,
        released: source.drain.clone(),
    };
    let key = Key {
        source: source.slot,
        peer,
        expected: workload.identity.clone(),
        core: cores::current(),
    };
    let mut retries = STALE_RETRIES;
    loop {
        let lease = context.pool.lease(&key, &endpoint, &own).await?;
        let headers = request_headers(&source.workload, client);
        let deadline = hop.connect_timeout.unwrap_or(context.hbone.connect_timeout);
        match client::connect(lease.sender(), peer, address, headers, deadline).await {
            Ok(side) => {
                let mut connected = Connected::new(side, workload.identity.to_string(), "hbone");
                connected.lease = Some(lease);
                return Ok(connected);
            }
            // No byte of the application's was sent: the peer went away before it answered.
            Err(TunnelError::Http2 { .. }) if retries > 0 => {
                lease.mark_broken();
                retries -= 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

// === impl Connected ===

impl Connected {
    fn new(side: Side, peer: String, transport: &'static str) -> Self {
        Self {
            side,
            peer,
            transport,
            destination: None,
            lease: None,
        }
    }

    /// Stops when the destination is released; `None` where that is seen by another node.
    pub fn destination(&self) -> Option<Drain> {
        self.destination.clone()
    }

    /// Tells when the tunnel that it goes through is about to end; `None` without a tunnel.
    pub fn departure(&self) -> Option<Departure> {
        self.lease.as_ref().map(Lease::departure)
    }

    /// Its bytes, for a library that wants a stream. What was leased for it is held for as long.
    pub fn into_io(self) -> SideIo {
        SideIo::new(
            self.side,
            self.lease
                .map(|lease| Box::new(lease) as Box<dyn Any + Send + Sync>),
        )
    }

    /// Waits until the destination is released, which only a workload of this node ever is here: another node's is
    /// released there, and the stream with it.
    pub fn released(&self) -> impl Future<Output = ()> + Send + use<> {
        let destination = self.destination.clone();
        async move {
            match destination {
                Some(destination) => destination.stopping().await,
                None => std::future::pending().await,
            }
        }
    }
}

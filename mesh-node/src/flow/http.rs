//! The life of a request: plan → rule → filters → backend → endpoint → answer → record.
//!
//! The client's node decides all of it; the node of the endpoint authenticates the tunnel and delivers.

mod attempt;
mod connection;
mod exchange;
mod filters;
mod hash;
mod head;
mod mirror;
pub mod pool;
mod refusal;
mod request;
mod tunnel;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use self::connection::{Connection, Requests};
use super::context::Context;
use super::plan::Plan;
use crate::l7::limits::Limits;
use crate::l7::server::{self, ServeError, Version};
use crate::local::LocalWorkload;

/// A captured connection that speaks HTTP.
#[derive(Debug)]
pub struct HttpClient {
    /// Whose it is.
    pub local: Arc<LocalWorkload>,
    /// The client's address.
    pub address: SocketAddr,
    /// What it asked for.
    pub asked: SocketAddr,
    /// What it speaks.
    pub version: Version,
    /// What stands at `asked`.
    pub plan: Arc<Plan>,
}

/// Serves the connection to its end: until the client closes it, its workload is released, or the node stops.
pub async fn serve<IO>(context: &Arc<Context>, client: HttpClient, io: IO) -> Result<(), ServeError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = Limits::new(&context.http, context.drain_deadline);
    let drain = context.drain.clone();
    let released = client.local.drain.clone();
    let version = client.version;
    let stop = async move {
        tokio::select! {
            () = drain.stopping() => {}
            () = released.stopping() => {}
        }
    };
    let connection = Connection::new(Arc::clone(context), client);
    server::serve(io, version, &limits, stop, Requests(Arc::new(connection))).await
}

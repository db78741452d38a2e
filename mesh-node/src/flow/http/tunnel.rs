//! What comes after an upgrade or a CONNECT was granted: bytes both ways, until either end closes.

use std::time::Duration;

use http::Response;
use mesh_runtime::drain::Drain;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split};

use super::exchange::{Exchange, Lease};
use crate::l7::body::Body;
use crate::l7::client;
use crate::l7::upgrade::{self, Upgraded};
use crate::outcome::Flag;
use crate::resilience::Outcome;

/// Bytes that are read at once.
const BUFFER: usize = 16 * 1024;
/// With no byte in either direction for so long, the tunnel is over, where no policy says otherwise.
const IDLE: Duration = Duration::from_secs(3600);

/// Joins client and endpoint once the answer has been written.
pub(super) fn attach(
    answer: &mut Response<Body>,
    endpoint: client::Upgraded,
    exchange: Box<Exchange>,
    lease: Lease,
) {
    upgrade::attach(answer, move |client| async move {
        let destination = match &lease {
            Lease::Http1(lease) => lease.way.destination.clone(),
            Lease::Http2 { .. } => None,
        };
        run(client, endpoint, exchange, destination).await;
        // Never an HTTP connection again, but counted as one until now.
        drop(lease);
    });
}

async fn run(
    client: Upgraded,
    endpoint: client::Upgraded,
    mut exchange: Box<Exchange>,
    destination: Option<Drain>,
) {
    let idle = exchange
        .rule
        .as_ref()
        .and_then(|rule| rule.policy.timeouts.idle)
        .unwrap_or(IDLE);
    let meter = std::sync::Arc::clone(&exchange.meter);
    let released = exchange.connection.local.drain.clone();
    let destination_released = async {
        match destination {
            Some(destination) => destination.stopping().await,
            None => std::future::pending().await,
        }
    };
    let (client_read, client_write) = split(client);
    let (endpoint_read, endpoint_write) = split(endpoint);
    let both = async {
        tokio::try_join!(
            pump(client_read, endpoint_write, |bytes| meter.add_sent(bytes)),
            pump(endpoint_read, client_write, |bytes| meter.add_received(bytes)),
        )
    };
    let flag = tokio::select! {
        result = both => result.err().map(|_| Flag::UpstreamConnectionTermination),
        () = meter.idle(idle) => Some(Flag::StreamIdleTimeout),
        () = released.stopping() => Some(Flag::LocalReset),
        () = destination_released => Some(Flag::LocalReset),
    };
    if let Some(flag) = flag {
        exchange.fail(flag, "the tunnel was broken off");
    }
    exchange.attempt_over(Outcome::Ok);
    exchange.over();
}

async fn pump<R, W>(mut from: ReadHalf<R>, mut to: WriteHalf<W>, count: impl Fn(usize)) -> std::io::Result<()>
where
    R: tokio::io::AsyncRead,
    W: tokio::io::AsyncWrite,
{
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        count(read);
        to.write_all(buffer.get(..read).unwrap_or_default()).await?;
    }
}

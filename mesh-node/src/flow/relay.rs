//! The one relay loop: bytes between a client's side and a server's, both ways at once.
//!
//! An end of one direction goes through and leaves the other open (half-close); a failure of either side ends both
//! with a reset, so that no peer takes a broken connection for a complete one.

use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mesh_runtime::drain::Drain;
use prometheus_client::metrics::counter::Counter;
use tokio::time::{Instant, sleep, timeout};

use super::failure::Failure;
use crate::net::side::{Reader, Side, Writer};

/// How long one side is given to take what the other sent before it broke the connection.
const AFTERMATH: Duration = Duration::from_secs(5);

/// How often a connection's bytes are looked at within its idle timeout: nothing is written down for each byte.
const LOOKS: u32 = 8;

/// Bytes in one direction: for the connection itself, and for the node's metrics.
#[derive(Debug)]
pub struct Count<'a> {
    /// The connection's own.
    pub connection: &'a AtomicU64,
    /// The metric.
    pub metric: &'a Counter,
}

/// Relays until both directions have ended, or the workload is released. After an error the caller resets both
/// sides, with [`Side::reset`].
pub async fn relay(
    client: &mut Side,
    server: &mut Side,
    sent: Count<'_>,
    received: Count<'_>,
    released: &Drain,
) -> Result<(), Failure> {
    let (client_reader, client_writer) = client.split();
    let (server_reader, server_writer) = server.split();
    let broken = |side| move |source| Failure::Broken { side, source };
    let both = async {
        tokio::try_join!(
            pump(
                client_reader,
                server_writer,
                sent,
                broken("client"),
                broken("server")
            ),
            pump(
                server_reader,
                client_writer,
                received,
                broken("server"),
                broken("client")
            ),
        )
    };
    tokio::select! {
        result = both => result.map(|_| ()),
        () = released.stopping() => Err(Failure::Released),
    }
}

/// Returns when no byte has moved in either direction for `limit`, or up to an eighth of it later.
pub async fn idle(sent: &AtomicU64, received: &AtomicU64, limit: Duration) {
    let moved = || (sent.load(Ordering::Relaxed), received.load(Ordering::Relaxed));
    let (mut last, mut since) = (moved(), Instant::now());
    loop {
        sleep((limit / LOOKS).max(Duration::from_millis(1))).await;
        let now = moved();
        if now != last {
            (last, since) = (now, Instant::now());
        } else if since.elapsed() >= limit {
            return;
        }
    }
}

async fn pump(
    mut from: Reader<'_>,
    mut to: Writer<'_>,
    count: Count<'_>,
    read_failed: impl Fn(io::Error) -> Failure,
    write_failed: impl Fn(io::Error) -> Failure,
) -> Result<(), Failure> {
    while let Some(bytes) = from.read().await.map_err(&read_failed)? {
        let length = bytes.len();
        {
            let mut writing = pin!(to.write(bytes));
            let written = tokio::select! {
                biased;
                written = &mut writing => written.map_err(&write_failed),
                // Who does not take what is written would keep the other's end from being noticed, for good.
                () = from.broken() => match Box::pin(timeout(AFTERMATH, writing)).await {
                    Ok(written) => written.map_err(&write_failed),
                    Err(_) => Err(read_failed(io::ErrorKind::ConnectionReset.into())),
                },
            };
            written?;
        }
        from.consumed(length).map_err(&read_failed)?;
        count.connection.fetch_add(length as u64, Ordering::Relaxed);
        count.metric.inc_by(length as u64);
    }
    to.finish().await.map_err(&write_failed)
}

#[cfg(test)]
mod tests;

//! The connections that are open now: for the admin API, and for the counts in the access log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use mesh_model::ResourceName;
use parking_lot::Mutex;
use std::collections::HashMap;

/// Parts of the table, so that cores seldom meet at one lock.
const SHARDS: usize = 16;

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    /// `inbound` or `outbound`.
    pub direction: &'static str,
    /// The local workload.
    pub workload: Option<ResourceName>,
    /// The client.
    pub source: SocketAddr,
    /// What it asked for.
    pub destination: SocketAddr,
    /// The Service asked for.
    pub service: Option<ResourceName>,
    /// Where it went.
    pub endpoint: Option<SocketAddr>,
    /// The peer's SPIFFE ID.
    pub peer: String,
    /// `hbone`, `local`, `direct` or `plaintext`.
    pub transport: &'static str,
    /// Bytes from the client to the server.
    pub sent: AtomicU64,
    /// Bytes from the server to the client.
    pub received: AtomicU64,
    /// When it came about.
    pub since: Instant,
}

/// All open connections.
#[derive(Debug, Default)]
pub struct Live {
    next: AtomicU64,
    shards: [Mutex<HashMap<u64, Arc<Connection>>>; SHARDS],
}

/// Keeps a connection in the table until it is dropped.
#[derive(Debug)]
pub struct Entry {
    live: Arc<Live>,
    id: u64,
    /// The connection.
    pub connection: Arc<Connection>,
}

// === impl Live ===

impl Live {
    /// Puts a connection into the table.
    pub fn insert(self: &Arc<Self>, connection: Connection) -> Entry {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(connection);
        self.shard(id).lock().insert(id, Arc::clone(&connection));
        Entry {
            live: Arc::clone(self),
            id,
            connection,
        }
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// At most `limit` of them, with their numbers, the oldest first.
    pub fn list(&self, limit: usize) -> Vec<(u64, Arc<Connection>)> {
        let mut all: Vec<_> = Vec::new();
        for shard in &self.shards {
            all.extend(
                shard
                    .lock()
                    .iter()
                    .map(|(id, connection)| (*id, Arc::clone(connection))),
            );
        }
        all.sort_unstable_by_key(|(id, _)| *id);
        all.truncate(limit);
        all
    }

    fn shard(&self, id: u64) -> &Mutex<HashMap<u64, Arc<Connection>>> {
        // The remainder is below the number of shards.
        &self.shards[usize::try_from(id % SHARDS as u64).unwrap_or_default()]
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.live.shard(self.id).lock().remove(&self.id);
    }
}

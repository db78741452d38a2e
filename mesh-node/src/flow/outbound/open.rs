//! Opening the connection for a client's bytes: to one address, or to an endpoint of a Service.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_model::{Balancing, HashKey, PortPolicy};

use crate::flow::connect::{self, Connected, Hop};
use crate::flow::context::Context;
use crate::flow::failure::{Failed, Failure};
use crate::local::LocalWorkload;
use crate::net::side::Side;
use crate::resilience::{
    Backend, ConnectionPermit, Demand, EndpointState, InFlight, Outcome, Pick, Unavailable, stable_hash,
};

/// How long nothing may move on a connection, where no policy says otherwise.
const IDLE: Duration = Duration::from_secs(3600);

/// To one address.
pub(super) struct Direct {
    pub(super) context: Arc<Context>,
    pub(super) local: Arc<LocalWorkload>,
    /// The client.
    pub(super) source: SocketAddr,
    pub(super) hop: Hop,
}

/// To an endpoint of a Service.
#[derive(Clone)]
pub(super) struct ToService {
    pub(super) context: Arc<Context>,
    pub(super) local: Arc<LocalWorkload>,
    /// The client.
    pub(super) source: SocketAddr,
    /// What it asked for.
    pub(super) asked: SocketAddr,
    /// The Service's port that it goes to.
    pub(super) backend: Arc<Backend>,
    /// How long nothing may move on it: of the Service that was asked for.
    pub(super) idle: Duration,
}

/// A connection to where the client's bytes go.
pub(super) struct Opened {
    pub(super) connected: Connected,
    /// Where it leads.
    pub(super) address: SocketAddr,
    /// How long nothing may move on it; `None`: as long as both ends like.
    pub(super) idle: Option<Duration>,
    /// Counts it for as long as it lives.
    _counted: Option<(InFlight, ConnectionPermit)>,
}

/// How long nothing may move on a connection for which this policy is in force.
pub(super) fn idle_timeout(policy: &PortPolicy) -> Duration {
    policy.request.timeouts.idle.unwrap_or(IDLE)
}

// === impl Direct ===

impl Direct {
    pub(super) async fn open(self) -> Result<Opened, Failed> {
        let address = self.hop.address;
        match connect::connect(&self.context, &self.local, self.source, &self.hop).await {
            Ok(connected) => Ok(Opened {
                connected,
                address,
                idle: None,
                _counted: None,
            }),
            Err(failure) => Err(failure.at(address)),
        }
    }
}

// === impl ToService ===

impl ToService {
    /// Connects to an endpoint; when one does not take the connection, tries another. Nothing was sent, so that trying
    /// again is safe; the Service's budget for retries keeps it from becoming a flood.
    pub(super) async fn open(self) -> Result<Opened, Failed> {
        self.backend.count_connection();
        let mut tried: Vec<Arc<EndpointState>> = Vec::new();
        let mut last = None;
        loop {
            let endpoint = match self.choose(&tried) {
                Ok(endpoint) => endpoint,
                Err(why) => {
                    let unavailable = || Failure::unavailable(self.backend.name().0, why).into();
                    return Err(last.unwrap_or_else(unavailable));
                }
            };
            let failed = match self.connect(&endpoint).await {
                Ok(opened) => return Ok(opened),
                Err(failed) => failed,
            };
            tried.push(endpoint);
            let is_last = tried.len() >= self.context.outbound.connect_attempts;
            if is_last || !failed.failure.is_retryable() || !self.backend.admit_retry() {
                return Err(failed);
            }
            last = Some(failed);
        }
    }

    fn choose(&self, tried: &[Arc<EndpointState>]) -> Result<Arc<EndpointState>, Unavailable> {
        self.backend.choose(&Pick {
            asked: self.asked,
            locality: &self.local.workload.locality,
            hash: self.hash(),
            affinity: None,
            tried,
            demand: Demand::Connection,
        })
    }

    /// Of all that can be hashed, a connection has its source address only.
    fn hash(&self) -> Option<u64> {
        let policy = self.backend.policy();
        let (Balancing::RingHash { key, .. } | Balancing::Maglev { key, .. }) = &policy.backend.balancing
        else {
            return None;
        };
        (*key == HashKey::SourceAddress).then(|| match self.source.ip() {
            IpAddr::V4(address) => stable_hash(&address.octets()),
            IpAddr::V6(address) => stable_hash(&address.octets()),
        })
    }

    async fn connect(&self, endpoint: &Arc<EndpointState>) -> Result<Opened, Failed> {
        let address = endpoint.address;
        let permit = self
            .backend
            .admit_connection(endpoint)
            .map_err(|overflow| Failure::overflow(self.backend.name().0, overflow))?;
        let hop = Hop {
            address,
            workload: endpoint.workload.known().cloned(),
            connect_timeout: self.backend.policy().backend.connect_timeout,
        };
        let mut in_flight = endpoint.begin();
        let started = Instant::now();
        let result = connect::connect(&self.context, &self.local, self.source, &hop).await;
        match result {
            Ok(connected) => {
                in_flight.finish(Outcome::Ok, started.elapsed());
                Ok(Opened {
                    connected,
                    address,
                    idle: Some(self.idle),
                    _counted: Some((in_flight, permit)),
                })
            }
            Err(failure) => {
                // What says nothing of the endpoint is not held against it.
                if failure.is_retryable() {
                    in_flight.finish(Outcome::ConnectFailed, started.elapsed());
                }
                Err(failure.at(address))
            }
        }
    }
}

// === impl Opened ===

impl AsMut<Side> for Opened {
    fn as_mut(&mut self) -> &mut Side {
        &mut self.connected.side
    }
}

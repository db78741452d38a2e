//! The pairs that were asked for: what is decided of each, and what of it the kernel has been told.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::PairView;
use super::reach::reaches;
use super::verdict::{self, Question, Reason, Verdict};
use crate::capture::{Capture, DirectEndpoint, DirectKey};
use crate::flow::context::Context;
use crate::local::LocalWorkload;

/// For so long a pair goes to the proxy after a connection past it has failed, as long as the proxy itself leaves an
/// endpoint alone that takes no connections.
const PAUSE: Duration = Duration::from_secs(5);
/// How soon it is tried again whether a network leads somewhere it did not.
const RETRY: Duration = Duration::from_secs(30);
/// A pass tries that for so long; what is left waits for the next one.
const TRYING: Duration = Duration::from_millis(300);

/// One pair.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) client: Arc<LocalWorkload>,
    pub(super) verdict: Verdict,
    /// Why it goes to the proxy; `None`: it is granted.
    pub(super) withheld: Option<Reason>,
    /// What the kernel has been told.
    granted: Option<(DirectKey, Vec<DirectEndpoint>)>,
    /// Until when it goes to the proxy because a connection failed, and to where that went.
    failed: Option<(Instant, SocketAddr)>,
    pub(super) view: Arc<PairView>,
}

/// From a client to a server, by their slots, at the server's address.
type Way = (u32, u32, IpAddr);

/// What is known of the ways from one workload to another.
#[derive(Debug, Default)]
pub(super) struct Ways {
    known: HashMap<Way, (Instant, Result<(), String>)>,
    /// Until when this pass tries.
    end: Option<Instant>,
}

// === impl Entry ===

impl Entry {
    /// Of a pair that is new; nothing is granted.
    pub(super) fn new(context: &Context, client: Arc<LocalWorkload>, asked: SocketAddr) -> Self {
        let verdict = judge(context, &client, asked);
        let view = PairView {
            workload: client.workload.name.clone(),
            asked,
            service: verdict.service.clone(),
            endpoints: Vec::new(),
            withheld: Some("it is being looked at".to_owned()),
            open: Arc::default(),
        };
        Self {
            client,
            withheld: verdict.targets.clone().err(),
            verdict,
            granted: None,
            failed: None,
            view: Arc::new(view),
        }
    }

    /// Looks at the snapshot anew.
    pub(super) fn judge(&mut self, context: &Context, asked: SocketAddr) {
        self.verdict = judge(context, &self.client, asked);
    }

    /// Whether the kernel has been told that connections may go straight.
    pub(super) fn is_granted(&self) -> bool {
        self.granted.is_some()
    }

    /// Brings what the kernel knows in line with what is decided. Whether anything has changed.
    pub(super) fn settle(
        &mut self,
        context: &Context,
        capture: &Capture,
        asked: SocketAddr,
        ways: &mut Ways,
    ) -> bool {
        let wanted = self.wanted(context, ways).and_then(|endpoints| {
            let cgroup = capture.cgroup_id(&self.client.cgroup);
            let name = || Reason::NotHere(self.client.workload.name.clone());
            let key = DirectKey {
                cgroup: cgroup.ok_or_else(name)?,
                destination: asked,
            };
            Ok((key, endpoints))
        });
        let is_same = match &wanted {
            Ok(wanted) => self.granted.as_ref() == Some(wanted),
            Err(reason) => self.granted.is_none() && self.withheld.as_ref() == Some(reason),
        };
        if is_same {
            return self.show(asked);
        }
        if let (Some((key, _)), Err(_)) = (&self.granted, &wanted) {
            match capture.withdraw_direct(key) {
                Ok(()) => self.granted = None,
                // It stays as it is, and is tried again by the next pass.
                Err(error) => tracing::error!(%error, "cannot withdraw a grant; trying again"),
            }
        }
        self.withheld = match wanted {
            Ok((key, endpoints)) => match capture.grant_direct(&key, self.client.slot, &endpoints) {
                Ok(()) => {
                    self.granted = Some((key, endpoints));
                    None
                }
                Err(error) => Some(Reason::NotGranted(error.to_string())),
            },
            Err(reason) => Some(reason),
        };
        tracing::debug!(
            workload = %self.client.workload.name,
            %asked,
            withheld = self.withheld.as_ref().map(ToString::to_string),
            "connections past the proxy"
        );
        self.show(asked);
        true
    }

    /// A connection past the proxy has failed.
    pub(super) fn fail(&mut self, now: Instant, endpoint: SocketAddr, is_slow: bool, ways: &mut Ways) {
        let is_alone = self
            .granted
            .as_ref()
            .is_none_or(|(_, endpoints)| endpoints.len() < 2);
        // One endpoint that refuses refuses through the proxy, too; the program sees it best as it is.
        if is_slow || !is_alone {
            self.failed = Some((now + PAUSE, endpoint));
        }
        if is_slow {
            ways.forget(self.client.slot);
        }
    }

    /// Takes back what was granted, because the workload is gone.
    pub(super) fn withdraw(&mut self, capture: &Capture) {
        if let Some((key, _)) = self.granted.take()
            && let Err(error) = capture.withdraw_direct(&key)
        {
            // The kernel holds it for nobody: it is bound to the workload's slot.
            tracing::warn!(%error, "a grant for a workload that is gone is left");
        }
    }

    fn wanted(&self, context: &Context, ways: &mut Ways) -> Result<Vec<DirectEndpoint>, Reason> {
        let targets = self.verdict.targets.as_ref().map_err(Clone::clone)?;
        if let Some((until, endpoint)) = self.failed
            && Instant::now() < until
        {
            return Err(Reason::Failed(endpoint));
        }
        let mut endpoints = Vec::with_capacity(targets.len());
        for target in targets {
            let name = &target.workload.name;
            let server = context
                .locals
                .by_name(name)
                .ok_or_else(|| Reason::NotHere(name.clone()))?;
            ways.look(&self.client, &server, target.address.ip())?;
            endpoints.push(DirectEndpoint {
                address: target.address,
                slot: server.slot,
                weight: target.weight,
            });
        }
        Ok(endpoints)
    }

    /// Shows people what is decided. Whether that is news.
    fn show(&mut self, asked: SocketAddr) -> bool {
        let endpoints: Vec<SocketAddr> = self
            .granted
            .iter()
            .flat_map(|(_, endpoints)| endpoints.iter().map(|endpoint| endpoint.address))
            .collect();
        let withheld = self.withheld.as_ref().map(ToString::to_string);
        let view = &self.view;
        if view.endpoints == endpoints && view.withheld == withheld && view.service == self.verdict.service {
            return false;
        }
        self.view = Arc::new(PairView {
            workload: self.client.workload.name.clone(),
            asked,
            service: self.verdict.service.clone(),
            endpoints,
            withheld,
            open: Arc::clone(&view.open),
        });
        true
    }
}

fn judge(context: &Context, client: &LocalWorkload, asked: SocketAddr) -> Verdict {
    verdict::judge(&Question {
        snapshot: &context.store.load(),
        node: &context.node,
        client_namespace: client.workload.name.namespace(),
        asked,
        mesh_ports: context.direct.mesh_ports,
    })
}

// === impl Ways ===

impl Ways {
    /// A pass begins.
    pub(super) fn begin(&mut self, now: Instant) {
        self.end = Some(now + TRYING);
    }

    /// Whether some way is still to be tried, or tried again.
    pub(super) fn retain(&mut self, is_there: impl Fn(u32) -> bool) {
        self.known.retain(|(client, server, _), (when, way)| {
            is_there(*client) && is_there(*server) && (way.is_ok() || when.elapsed() < RETRY)
        });
    }

    fn forget(&mut self, client: u32) {
        self.known.retain(|(known, _, _), _| *known != client);
    }

    /// What is known of the way, or found out now.
    fn look(
        &mut self,
        client: &LocalWorkload,
        server: &LocalWorkload,
        address: IpAddr,
    ) -> Result<(), Reason> {
        let key = (client.slot, server.slot, address);
        let now = Instant::now();
        if !self.known.contains_key(&key) {
            if self.end.is_some_and(|end| now >= end) {
                return Err(Reason::Unreachable(
                    "the way there is about to be tried".to_owned(),
                ));
            }
            let way = reaches(&client.namespace, &server.namespace, address);
            self.known.insert(key, (now, way));
        }
        match self.known.get(&key) {
            Some((_, Err(error))) => Err(Reason::Unreachable(error.clone())),
            _ => Ok(()),
        }
    }
}

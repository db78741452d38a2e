//! Keeps what the kernel may connect by itself in line with the snapshot and with who is attached, and its connections told
//! of and ended.
//!
//! One pass after another, a tenth of a second apart at most, sooner when there is news: take in what the kernel tells, renew
//! the lease, look at every pair, and, when anything has changed, at every connection. What a pass fails to do is
//! done by the next one. Runs off the threads that carry connections.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::ledger::{Diags, End, Ledger, Parties};
use super::pairs::{Entry, Ways};
use super::verdict::Reason;
use super::{Pair, View};
use crate::capture::{Capture, CaptureError, DirectConnection, DirectState, MAX_DIRECT_GRANTS};
use crate::flow::context::Context;
use crate::local::LocalWorkload;
use crate::net::diag;

/// Between two passes without news.
const PACE: Duration = Duration::from_millis(100);
/// Between two passes whatever the news: several changes at once are looked at together.
const BREATH: Duration = Duration::from_millis(5);
/// How long grants are in force after the node has last renewed them.
const LEASE: Duration = Duration::from_secs(3);
/// How often it does.
const RENEWAL: Duration = Duration::from_millis(500);
/// After a change, all connections are looked at by each pass for so long: a connect that was under way then may have read
/// what was granted before.
const AFTERMATH: Duration = Duration::from_secs(2);
/// They are looked at this often in any case, for what was not told.
const ROUND: Duration = Duration::from_secs(5);
/// A connect() takes less than this from the hook to the SYN: an entry that is older has failed without being told.
const RESERVED: Duration = Duration::from_secs(5);
/// A workload that is gone is remembered for so long, for its last connections.
const DEPARTURE: Duration = Duration::from_secs(30);
/// After the first configuration, workloads are given so long to be attached before connections that a former process left
/// are looked at. Until then nothing goes past the proxy.
const ADOPTION: Duration = Duration::from_secs(3);

/// Does it.
#[derive(Debug)]
pub struct Keeper {
    context: Arc<Context>,
    capture: Arc<Capture>,
    /// `[capture] direct-connections`.
    is_wanted: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pairs: HashMap<Pair, Entry>,
    ways: Ways,
    ledger: Ledger,
    /// The workloads that were attached at the last look, by slot.
    attached: HashMap<u32, Arc<LocalWorkload>>,
    /// Those that are gone, and since when.
    departed: HashMap<u32, (Instant, Arc<LocalWorkload>)>,
    /// The snapshot and the attached workloads that were looked at last.
    seen: Option<(u64, u64)>,
    /// When all connections were looked at last, and until when every pass does.
    swept: Option<Instant>,
    sweep_until: Option<Instant>,
    leased: Option<Instant>,
    /// Since when there is a configuration.
    configured: Option<Instant>,
    /// Why nothing goes past the proxy.
    off: Option<String>,
    /// Whether the kernel's table held anything the last time.
    is_idle: bool,
}

// === impl Keeper ===

impl Keeper {
    /// For the node's data plane.
    pub fn new(context: Arc<Context>, capture: Arc<Capture>, is_wanted: bool) -> Self {
        Self {
            context,
            capture,
            is_wanted,
            state: Mutex::default(),
        }
    }

    /// Runs for as long as the node. When that stops, nothing new goes past the proxy; what is open goes on.
    pub async fn run(self) {
        let keeper = Arc::new(self);
        let direct = Arc::clone(&keeper.context.direct);
        let drain = keeper.context.drain.clone();
        let mut changes = keeper.context.store.watch();
        loop {
            changes.borrow_and_update();
            let pass = Arc::clone(&keeper);
            // Making sockets in namespaces and asking the kernel are system calls that may take a moment.
            match tokio::task::spawn_blocking(move || pass.pass()).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => tracing::error!(%error, "a pass over connections past the proxy failed"),
            }
            tokio::time::sleep(BREATH).await;
            tokio::select! {
                () = tokio::time::sleep(PACE) => {}
                _ = changes.changed() => {}
                () = direct.news.notified() => {}
                () = drain.stopping(), if !drain.is_stopping() => {}
            }
        }
    }

    /// One pass; whether there is anything left to do.
    fn pass(&self) -> bool {
        let state = &mut *self.state.lock();
        if state.seen.is_none() {
            self.start(state);
        }
        let result = self.take_in(state).and_then(|()| self.lease(state));
        if let Err(error) = result {
            tracing::error!(%error, "cannot follow connections past the proxy; trying again");
        }
        let is_news = self.look_at_pairs(state);
        self.sweep_if_due(state);
        if is_news {
            self.publish(state);
        }
        state.off.is_none() || !state.is_idle
    }

    fn start(&self, state: &mut State) {
        let off = if !self.is_wanted {
            Some("[capture] direct-connections is false".to_owned())
        } else if Capture::has_other_clock() {
            Some("this process is in a time namespace, whose clock is not the kernel's".to_owned())
        } else {
            diag::can_destroy().err().map(|error| error.to_string())
        };
        match &off {
            None => tracing::info!("connections within the node that the proxy need not carry go past it"),
            Some(reason) => tracing::info!(reason, "all connections go through the proxy"),
        }
        self.context.direct.is_on.store(off.is_none(), Ordering::Relaxed);
        state.off = off;
    }

    /// Takes in what the kernel tells. Not before workloads are attached: it may tell of a former process's connections.
    fn take_in(&self, state: &mut State) -> Result<(), CaptureError> {
        if !state.is_settled() {
            return Ok(());
        }
        let mut told = Vec::new();
        self.capture.direct_events(|connection| told.push(connection))?;
        for connection in &told {
            self.told(state, connection);
        }
        Ok(())
    }

    fn told(&self, state: &mut State, connection: &DirectConnection) {
        self.adopt(state, connection);
        match connection.state {
            DirectState::Open => self.opened(state, connection),
            DirectState::Closed { is_broken } => {
                // That it came about may not have been told.
                self.opened(state, connection);
                state.ledger.closed(&self.context, connection, is_broken);
            }
            DirectState::Failed => self.failed(state, connection),
            DirectState::Reserved | DirectState::Connecting | DirectState::Lost => {}
        }
    }

    fn opened(&self, state: &mut State, connection: &DirectConnection) {
        if state.ledger.get(connection.cookie).is_some() {
            return;
        }
        // Of who is long gone there is nothing to tell.
        let Some(parties) = self.parties(state, connection) else {
            return;
        };
        let pair = Pair {
            slot: parties.client.slot,
            asked: connection.destination,
        };
        let view = state.pairs.get(&pair).map(|entry| &entry.view);
        state.ledger.opened(&self.context, connection, parties, view);
    }

    fn failed(&self, state: &mut State, connection: &DirectConnection) {
        let Some(parties) = self.parties(state, connection) else {
            return;
        };
        let pair = Pair {
            slot: parties.client.slot,
            asked: connection.destination,
        };
        let entry = state.pairs.get_mut(&pair);
        let view = entry.as_ref().map(|entry| Arc::clone(&entry.view));
        if let Some(entry) = entry
            && !state.ledger.is_ending(connection.cookie)
        {
            let is_slow = connection.duration >= Duration::from_secs(1);
            entry.fail(Instant::now(), connection.endpoint, is_slow, &mut state.ways);
        }
        state
            .ledger
            .failed(&self.context, connection, &parties, view.as_ref());
    }

    /// Who a connection joins. `None` when one of them is not attached, and was not lately.
    fn parties(&self, state: &State, connection: &DirectConnection) -> Option<Parties> {
        let client = self.client_of(state, connection)?;
        let server = if let Some(slot) = connection.endpoint_slot {
            self.by_slot(state, slot)?
        } else {
            let snapshot = self.context.store.load();
            let locals = &self.context.locals;
            locals.by_name(&snapshot.workload_at(connection.endpoint)?.name)?
        };
        Some(Parties { client, server })
    }

    /// The client; of a former process's connection by its cgroup.
    fn client_of(&self, state: &State, connection: &DirectConnection) -> Option<Arc<LocalWorkload>> {
        if let Some(slot) = connection.slot {
            return self.by_slot(state, slot);
        }
        let is_it =
            |local: &Arc<LocalWorkload>| self.capture.cgroup_id(&local.cgroup) == Some(connection.cgroup);
        self.context.locals.all().into_iter().find(is_it)
    }

    fn by_slot(&self, state: &State, slot: u32) -> Option<Arc<LocalWorkload>> {
        let departed = || state.departed.get(&slot).map(|(_, local)| Arc::clone(local));
        self.context.locals.by_slot(slot).or_else(departed)
    }

    fn lease(&self, state: &mut State) -> Result<(), CaptureError> {
        if state.off.is_some() || !state.is_settled() {
            return Ok(());
        }
        if self.context.drain.is_stopping() {
            return self.capture.lease_direct(Duration::ZERO);
        }
        if state.leased.is_none_or(|leased| leased.elapsed() >= RENEWAL) {
            self.capture.lease_direct(LEASE)?;
            state.leased = Some(Instant::now());
        }
        Ok(())
    }

    /// Looks at every pair; whether anything has changed.
    fn look_at_pairs(&self, state: &mut State) -> bool {
        let (context, now) = (&self.context, Instant::now());
        // Before the snapshot and the workloads are: what is looked at is as of these, or newer.
        let seen = (context.store.generation(), context.locals.changes());
        let (is_first, is_other) = (state.seen.is_none(), state.seen != Some(seen));
        let are_others_attached = state.seen.is_none_or(|(_, changes)| changes != seen.1);
        state.seen = Some(seen);
        if seen.0 > 0 && state.configured.is_none() {
            state.configured = Some(now);
        }
        let mut is_news = self.take_waiting(state);
        if is_other {
            is_news |= self.release_gone(state, now);
            for (pair, entry) in &mut state.pairs {
                entry.judge(context, pair.asked);
            }
        }
        state.ways.retain(|slot| context.locals.by_slot(slot).is_some());
        state.ways.begin(now);
        for (pair, entry) in &mut state.pairs {
            is_news |= entry.settle(context, &self.capture, pair.asked, &mut state.ways);
        }
        if is_news || are_others_attached {
            state.sweep_until = Some(now + AFTERMATH);
        }
        is_news || is_first
    }

    /// Takes the pairs that were noted; whether there are any.
    fn take_waiting(&self, state: &mut State) -> bool {
        let waiting = std::mem::take(&mut *self.context.direct.waiting.lock());
        let mut is_news = false;
        for pair in waiting {
            if let Some(client) = self.context.locals.by_slot(pair.slot) {
                is_news |= self.add(state, pair, client);
            }
        }
        is_news
    }

    /// Adds a pair, if it is new and there is room for it.
    fn add(&self, state: &mut State, pair: Pair, client: Arc<LocalWorkload>) -> bool {
        if state.pairs.contains_key(&pair) {
            return false;
        }
        if state.pairs.len() >= MAX_DIRECT_GRANTS {
            let is_unused =
                |entry: &Entry| !entry.is_granted() && entry.view.open.load(Ordering::Relaxed) == 0;
            let unused = state.pairs.iter().find(|(_, entry)| is_unused(entry));
            let Some(unused) = unused.map(|(pair, _)| *pair) else {
                return false;
            };
            state.pairs.remove(&unused);
        }
        state
            .pairs
            .insert(pair, Entry::new(&self.context, client, pair.asked));
        true
    }

    /// Forgets the pairs of workloads that are gone, or are attached anew.
    fn release_gone(&self, state: &mut State, now: Instant) -> bool {
        let State {
            pairs,
            attached,
            departed,
            ..
        } = state;
        let all = self.context.locals.all().into_iter();
        let former = std::mem::replace(attached, all.map(|local| (local.slot, local)).collect());
        let gone = former
            .into_iter()
            .filter(|(slot, _)| !attached.contains_key(slot));
        departed.retain(|_, (when, _)| now.duration_since(*when) < DEPARTURE);
        departed.extend(gone.map(|(slot, local)| (slot, (now, local))));
        let before = pairs.len();
        pairs.retain(|pair, entry| {
            if let Some(local) = attached.get(&pair.slot) {
                // Its manifest may say something else now.
                entry.client = Arc::clone(local);
                return true;
            }
            entry.withdraw(&self.capture);
            false
        });
        before != pairs.len()
    }

    fn sweep_if_due(&self, state: &mut State) {
        let now = Instant::now();
        let is_after_change = state.sweep_until.is_some_and(|until| now < until);
        let is_due = state.swept.is_none_or(|swept| now.duration_since(swept) >= ROUND);
        if !is_due && !is_after_change || !state.is_settled() {
            return;
        }
        if is_due {
            state.swept = Some(now);
        }
        match self.capture.direct_connections() {
            Ok(connections) => {
                state.is_idle = connections.is_empty();
                let mut diags = Diags::default();
                for connection in &connections {
                    self.look_at(state, connection, &mut diags);
                }
                for cookie in state.ledger.refresh(&self.context, &mut diags) {
                    self.forget(cookie);
                }
            }
            Err(error) => {
                tracing::error!(%error, "cannot look at connections past the proxy; trying again");
            }
        }
    }

    /// Looks at one connection of the kernel's table.
    fn look_at(&self, state: &mut State, connection: &DirectConnection, diags: &mut Diags) {
        match connection.state {
            DirectState::Reserved => {
                if connection.opened.elapsed() >= RESERVED {
                    self.forget(connection.cookie);
                }
            }
            DirectState::Closed { .. } | DirectState::Failed => {
                self.told(state, connection);
                self.forget(connection.cookie);
            }
            DirectState::Connecting | DirectState::Open | DirectState::Lost => {
                self.adopt(state, connection);
                if connection.state == DirectState::Open {
                    self.opened(state, connection);
                }
                if let Err(end) = self.may_go_on(state, connection) {
                    self.end(state, connection, &end, diags);
                }
            }
        }
    }

    /// A former process's connection: its pair is looked at as if it had just been asked for.
    fn adopt(&self, state: &mut State, connection: &DirectConnection) {
        if connection.slot.is_some() || state.off.is_some() {
            return;
        }
        if let Some(Parties { client, .. }) = self.parties(state, connection) {
            let pair = Pair {
                slot: client.slot,
                asked: connection.destination,
            };
            if self.add(state, pair, client) {
                self.publish(state);
            }
        }
    }

    fn may_go_on(&self, state: &State, connection: &DirectConnection) -> Result<(), End> {
        if let Some(off) = &state.off {
            return Err(End::Withheld(Reason::NotGranted(off.clone())));
        }
        let (pair, server) = if let Some(open) = state.ledger.get(connection.cookie) {
            (open.pair, open.server)
        } else {
            let parties = self.parties(state, connection).ok_or(End::Released)?;
            let (slot, asked) = (parties.client.slot, connection.destination);
            (Pair { slot, asked }, parties.server.slot)
        };
        let is_there = |slot| self.context.locals.by_slot(slot).is_some();
        if connection.state == DirectState::Lost || !is_there(pair.slot) || !is_there(server) {
            return Err(End::Released);
        }
        let entry = state.pairs.get(&pair).ok_or(End::Released)?;
        match entry.verdict.targets.as_ref().err() {
            Some(reason) if reason.ends_connections() => Err(End::Withheld(reason.clone())),
            _ => Ok(()),
        }
    }

    fn end(&self, state: &mut State, connection: &DirectConnection, end: &End, diags: &mut Diags) {
        let open = state
            .ledger
            .get(connection.cookie)
            .map(|open| Arc::clone(open.client()));
        let client = open.or_else(|| self.client_of(state, connection));
        let Some(client) = client else {
            // Nobody's: not even the namespace is known in which it could be ended.
            tracing::warn!(source = %connection.source, endpoint = %connection.endpoint, "a connection past the proxy of a workload that was released while no node ran goes on");
            return self.forget(connection.cookie);
        };
        let is_over = state.ledger.end(connection, end, &client.namespace, diags);
        // Of what is in the ledger, the end may be about to be told.
        if connection.state == DirectState::Lost || is_over && state.ledger.get(connection.cookie).is_none() {
            self.forget(connection.cookie);
        }
    }

    fn forget(&self, cookie: u64) {
        if let Err(error) = self.capture.forget_direct(cookie) {
            tracing::error!(%error, "cannot forget a connection past the proxy; trying again");
        }
    }

    /// For connections and people.
    fn publish(&self, state: &State) {
        let direct = &self.context.direct;
        let known: HashSet<Pair> = state.pairs.keys().copied().collect();
        direct.known.store(Arc::new(known));
        let mut pairs: Vec<_> = state
            .pairs
            .values()
            .map(|entry| Arc::clone(&entry.view))
            .collect();
        let order = |view: &super::PairView| -> (mesh_model::ResourceName, SocketAddr) {
            (view.workload.clone(), view.asked)
        };
        pairs.sort_by_cached_key(|view| order(view));
        direct.view.store(Arc::new(View {
            off: state.off.clone(),
            pairs,
        }));
    }
}

// === impl State ===

impl State {
    /// Whether the workloads that a former process's connections belong to have had time to be attached.
    fn is_settled(&self) -> bool {
        self.configured
            .is_some_and(|configured| configured.elapsed() >= ADOPTION)
    }
}

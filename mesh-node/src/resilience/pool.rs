//! Endpoints among which one is chosen, and the ways to do so.
//!
//! A pool never changes; what does, such as what is under way to an endpoint or whether it is ejected, is the
//! endpoint's own. Choosing draws first, in constant time, and looks at all endpoints only when a few draws have hit none
//! that takes anything. It allocates nothing.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mesh_model::{BackendPolicy, Balancing};

use super::admission::{Limit, Overflow};
use super::backend::{Demand, Pick};
use super::clock::Moment;
use super::consistent::{self, Node, Table};
use super::endpoint::EndpointState;
use super::hash;
use super::sampler::Sampler;

/// Draws until all are looked at: with half of the endpoints ejected, one in 256 choices looks.
const DRAWS: usize = 8;
/// A new endpoint's share at first (Envoy's `min_weight_percent`): it must get some requests to warm up.
const COLD: f32 = 0.1;

/// An endpoint that may be chosen.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) state: Arc<EndpointState>,
    /// Greater than zero.
    pub(super) weight: u32,
}

/// Endpoints among which one is chosen.
#[derive(Debug)]
pub(super) struct Pool {
    entries: Box<[Entry]>,
    /// How many there are, with those that are not ready.
    known: usize,
    sampler: Sampler,
    heaviest: u32,
    /// Weights by this are 1 on average.
    mean_weight: f32,
    table: Option<Arc<Table>>,
    /// When the last one has warmed up.
    warm_at: Moment,
    /// Of round robin. Begins anywhere, so that nodes are not in step.
    turn: AtomicU64,
}

/// One choice: for whom, under which policy, when.
#[derive(Debug)]
pub(super) struct Choice<'a> {
    pub(super) pick: &'a Pick<'a>,
    pub(super) policy: &'a BackendPolicy,
    pub(super) now: Moment,
    /// Which endpoints may be chosen.
    pub(super) takes: Takes,
    /// Why endpoints were passed over.
    pub(super) seen: Cell<Seen>,
}

/// Which endpoints may be chosen; each includes the ones before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Takes {
    /// Those with which all is well.
    Well,
    /// Those that took no connection a moment ago: when there are no others.
    Doubtful,
    /// Ejected ones: when not even such are left.
    Ejected,
}

/// Why endpoints were passed over.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    pub(super) tried: bool,
    pub(super) ejected: bool,
    pub(super) doubtful: bool,
    pub(super) full: Option<Overflow>,
}

// === impl Choice ===

impl Choice<'_> {
    /// Whether the endpoint takes this request or connection.
    pub(super) fn is_free(&self, state: &EndpointState) -> bool {
        self.refusal(state).is_none()
    }

    /// Like [`Choice::is_free`]; notes why not.
    fn look(&self, state: &EndpointState) -> bool {
        let Some(why) = self.refusal(state) else {
            return true;
        };
        let seen = self.seen.get();
        self.seen.set(Seen {
            tried: seen.tried || why.tried,
            ejected: seen.ejected || why.ejected,
            doubtful: seen.doubtful || why.doubtful,
            full: seen.full.or(why.full),
        });
        false
    }

    fn refusal(&self, state: &EndpointState) -> Option<Seen> {
        if self
            .pick
            .tried
            .iter()
            .any(|tried| std::ptr::eq(&raw const **tried, state))
        {
            return Some(Seen {
                tried: true,
                ..Seen::default()
            });
        }
        if self.takes < Takes::Ejected && !state.health.takes_requests(self.now) {
            return Some(Seen {
                ejected: true,
                ..Seen::default()
            });
        }
        let limits = &self.policy.limits;
        let (most, now, limit) = match self.pick.demand {
            Demand::Request => (
                limits.endpoint_max_requests,
                state.in_flight(),
                Limit::EndpointRequests,
            ),
            Demand::Connection => (
                limits.endpoint_max_connections,
                state.connections(),
                Limit::EndpointConnections,
            ),
        };
        if let Some(most) = most.filter(|most| now >= *most) {
            return Some(Seen {
                full: Some(Overflow { limit, most }),
                ..Seen::default()
            });
        }
        (self.takes < Takes::Doubtful && state.reach.is_doubtful(self.now)).then(|| Seen {
            doubtful: true,
            ..Seen::default()
        })
    }

    /// How much of its share an endpoint gets: less than 1 while it warms up.
    fn warmth(&self, state: &EndpointState) -> f32 {
        let (Some(window), Some(since)) = (self.policy.slow_start, state.ready_since()) else {
            return 1.0;
        };
        let age = self.now.since(since);
        if age >= window {
            return 1.0;
        }
        (age.as_secs_f32() / window.as_secs_f32()).max(COLD)
    }
}

// === impl Pool ===

impl Pool {
    /// Of these endpoints, out of so many known ones. The table is taken over from the former pool if it would be the
    /// same.
    pub(super) fn new(
        mut entries: Vec<Entry>,
        known: usize,
        policy: &BackendPolicy,
        former: Option<&Pool>,
    ) -> Self {
        // Tables must come out the same on every node.
        entries.sort_unstable_by_key(|entry| entry.state.address);
        let nodes: Vec<Node> = entries.iter().map(Entry::node).collect();
        let weights: Vec<u32> = nodes.iter().map(|node| node.weight).collect();
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "for comparing loads, to a few digits"
        )]
        let mean_weight = (total / weights.len().max(1) as f64) as f32;
        let newest = entries.iter().filter_map(|entry| entry.state.ready_since()).max();
        let window = policy.slow_start.unwrap_or(Duration::ZERO);
        Self {
            known,
            sampler: Sampler::new(&weights),
            heaviest: weights.iter().copied().max().unwrap_or(1),
            mean_weight,
            table: Table::new(
                &policy.balancing,
                &nodes,
                former.and_then(|pool| pool.table.as_ref()),
            ),
            warm_at: newest.map_or(Moment::FIRST, |newest| newest.after(window)),
            turn: AtomicU64::new(fastrand::u64(..u64::from(u32::MAX))),
            entries: entries.into_boxed_slice(),
        }
    }

    /// How many of all that are known take requests, as a share.
    pub(super) fn healthy_share(&self, now: Moment, is_any_ejected: bool) -> f64 {
        let healthy = if is_any_ejected {
            let is_healthy = |entry: &&Entry| entry.state.health.is_in_service(now);
            self.entries.iter().filter(is_healthy).count()
        } else {
            self.entries.len()
        };
        #[expect(clippy::cast_precision_loss, reason = "a share needs few digits")]
        let share = healthy as f64 / self.known.max(1) as f64;
        share
    }

    /// An endpoint that takes the request or connection, by the policy's way of balancing.
    pub(super) fn choose(&self, choice: &Choice<'_>) -> Option<&Arc<EndpointState>> {
        if let [only] = &*self.entries {
            return choice.look(&only.state).then_some(&only.state);
        }
        let drawn = match (&choice.policy.balancing, choice.pick.hash) {
            (Balancing::LeastRequest, _) => self.better_of_two(choice, Self::requests),
            (Balancing::PeakEwma, _) => self.better_of_two(choice, Self::expected_wait),
            (Balancing::RoundRobin, _) => self.next_in_turn(choice),
            (Balancing::RingHash { .. } | Balancing::Maglev { .. }, Some(hash)) => {
                return self.consistent(choice, hash);
            }
            (Balancing::Random | Balancing::RingHash { .. } | Balancing::Maglev { .. }, _) => {
                self.draw(choice)
            }
        };
        let chosen = drawn.or_else(|| self.look_at_all(choice))?;
        Some(&chosen.state)
    }

    /// The better of two random ones.
    ///
    /// With equal weights the two are different. Else they are drawn by weight and may be the same one: only so does an
    /// endpoint get its share, and no more, when all are equally good and chance decides.
    fn better_of_two(
        &self,
        choice: &Choice<'_>,
        load: impl Fn(&Self, &Choice<'_>, &Entry) -> f32,
    ) -> Option<&Entry> {
        let is_even = self.sampler.is_uniform() && choice.now >= self.warm_at;
        let first = self.draw_place(choice)?;
        let second = if is_even {
            self.draw_other(choice, first)
        } else {
            self.draw_place(choice)
        };
        let (first, second) = (&self.entries[first], second.map(|place| &self.entries[place]));
        match second {
            // The first one in a tie.
            Some(second) if load(self, choice, second) < load(self, choice, first) => Some(second),
            _ => Some(first),
        }
    }

    /// Requests under way, by weight.
    fn requests(&self, choice: &Choice<'_>, entry: &Entry) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "exact up to 16 million requests")]
        let requests = entry.state.in_flight() as f32;
        requests / self.relative_weight(choice, entry)
    }

    /// How long a further request is expected to take: latency by what is under way and itself.
    fn expected_wait(&self, choice: &Choice<'_>, entry: &Entry) -> f32 {
        entry.state.latency.seconds(choice.now) * (self.requests(choice, entry) + 1.0)
    }

    fn relative_weight(&self, choice: &Choice<'_>, entry: &Entry) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "for comparing loads, to a few digits")]
        let weight = entry.weight as f32;
        weight / self.mean_weight * choice.warmth(&entry.state)
    }

    /// One by weight.
    fn draw(&self, choice: &Choice<'_>) -> Option<&Entry> {
        self.draw_place(choice).map(|place| &self.entries[place])
    }

    fn draw_place(&self, choice: &Choice<'_>) -> Option<usize> {
        let is_warm = choice.now >= self.warm_at;
        (0..DRAWS).map(|_| self.sampler.draw()).find(|place| {
            let Some(entry) = self.entries.get(*place) else {
                return false;
            };
            (is_warm || fastrand::f32() < choice.warmth(&entry.state)) && choice.is_free(&entry.state)
        })
    }

    /// Any but this one.
    fn draw_other(&self, choice: &Choice<'_>, first: usize) -> Option<usize> {
        let count = self.entries.len();
        (0..DRAWS)
            .map(|_| (first + fastrand::usize(1..count.max(2))) % count)
            .find(|place| *place != first && choice.is_free(&self.entries[*place].state))
    }

    /// The next one in turn. In each round the heaviest comes once and the others in as many rounds as is their share,
    /// spread evenly (gRFC A58, "static stride"): no list of turns, and a counter as the only state.
    fn next_in_turn(&self, choice: &Choice<'_>) -> Option<&Entry> {
        let count = self.entries.len() as u64;
        let heaviest = u64::from(self.heaviest);
        let is_warm = choice.now >= self.warm_at;
        // A round has at least one whose turn it is; more are passed only when some take nothing.
        for _ in 0..(2 * count).max(1) {
            let turn = self.turn.fetch_add(1, Ordering::AcqRel);
            let (round, place) = (turn / count.max(1), turn % count.max(1));
            let entry = self.entries.get(usize::try_from(place).ok()?)?;
            let weight = u64::from(entry.weight);
            // Endpoints of one weight shall not all come in the same round.
            let offset = place.wrapping_mul(heaviest / 2 + 1);
            let is_turn = (weight.wrapping_mul(round).wrapping_add(offset)) % heaviest >= heaviest - weight;
            if is_turn
                && (is_warm || fastrand::f32() < choice.warmth(&entry.state))
                && choice.is_free(&entry.state)
            {
                return Some(entry);
            }
        }
        None
    }

    /// The endpoint that the key belongs to; when that takes nothing, the one that it belongs to in a second table, a third
    /// and so on, which are the first one with the key hashed again. After a few, the nearest of all that take anything. Either
    /// way a key has one other endpoint, the same on every node, and the keys of one endpoint spread over all.
    fn consistent(&self, choice: &Choice<'_>, key: u64) -> Option<&Arc<EndpointState>> {
        let mut hash = key;
        for _ in 0..DRAWS {
            let found = self
                .table
                .as_ref()
                .and_then(|table| self.entries.get(table.find(hash)));
            if let Some(found) = found.filter(|found| choice.is_free(&found.state)) {
                return Some(&found.state);
            }
            hash = hash::join(hash, key);
        }
        self.entries
            .iter()
            .filter(|entry| choice.look(&entry.state))
            .map(|entry| (consistent::distance(key, entry.node()), entry))
            .min_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, entry)| &entry.state)
    }

    /// Looks at all: the better of two random ones of those that take anything, by weight, in one pass.
    fn look_at_all(&self, choice: &Choice<'_>) -> Option<&Entry> {
        let (mut first, mut second) = (None, None);
        let mut total = 0.0;
        for entry in self.entries.iter().filter(|entry| choice.look(&entry.state)) {
            let weight = self.relative_weight(choice, entry);
            total += weight;
            // Each stays with the chance that its weight has among all that came so far.
            if fastrand::f32() * total <= weight {
                first = Some(entry);
            }
            if fastrand::f32() * total <= weight {
                second = Some(entry);
            }
        }
        let (first, second): (&Entry, &Entry) = (first?, second?);
        let load = |entry| match choice.policy.balancing {
            Balancing::LeastRequest => self.requests(choice, entry),
            Balancing::PeakEwma => self.expected_wait(choice, entry),
            _ => 0.0,
        };
        Some(if load(second) < load(first) { second } else { first })
    }
}

// === impl Entry ===

impl Entry {
    fn node(&self) -> Node {
        Node {
            hash: hash::of_address(self.state.address),
            weight: self.weight,
        }
    }
}

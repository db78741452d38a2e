//! Series: values by their labels, for what happens once a request.
//!
//! Each thread has a table of its own, so that counting takes no lock that another core holds; a reader adds the tables
//! up. What the tables hold together is bounded: beyond the limit everything new is counted in one value, which is shown
//! as such. Series of what is gone are removed when nothing was counted for a while ([`Series::sweep`]).

use std::cell::Cell;
use std::collections::HashMap;
use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher as _, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use hashbrown::{DefaultHashBuilder, HashTable};
use parking_lot::Mutex;

/// Series that a reader looks at under one lock: some 30 µs, for which the thread that counts may have to wait.
const BATCH: usize = 128;

/// Labels as the counting side has them: borrowed. Equal ones have equal hashes.
pub trait Query<K>: Hash {
    /// Whether these are the labels.
    fn is(&self, key: &K) -> bool;
    /// The labels, to be kept.
    fn to_key(&self) -> K;
}

/// What is counted for a series.
pub trait Value: Default + Clone {
    /// Adds what another thread counted.
    fn add(&mut self, other: &Self);
    /// Whether something is still under way, so that the series must stay though nothing is counted.
    fn is_busy(&self) -> bool {
        false
    }
}

/// Values by labels.
pub struct Series<K, V> {
    name: &'static str,
    shards: Box<[Shard<K, V>]>,
    hasher: DefaultHashBuilder,
    /// All labels of all threads, with their hashes.
    known: Mutex<HashTable<(u64, Arc<K>)>>,
    limit: usize,
    /// Milliseconds, as told by the latest sweep.
    clock: AtomicU64,
    is_full: AtomicBool,
    /// Reading and sweeping exclude each other: both walk the tables in steps.
    walk: Mutex<()>,
}

/// What was counted until now.
#[derive(Debug)]
pub struct Reading<K, V> {
    /// Labels and values, in no order.
    pub series: Vec<(Arc<K>, V)>,
    /// What had no place of its own.
    pub overflow: V,
    /// How often something was counted there.
    pub overflowed: u64,
}

/// A thread's table, on cache lines of its own.
#[repr(align(128))]
struct Shard<K, V>(Mutex<Held<K, V>>);

struct Held<K, V> {
    /// Places in `slots`.
    index: HashTable<usize>,
    slots: Vec<Slot<K, V>>,
    overflow: V,
    overflowed: u64,
}

struct Slot<K, V> {
    hash: u64,
    key: Arc<K>,
    /// In a box: a table that grows moves its slots.
    value: Box<V>,
    /// The clock when something was counted last.
    used: u64,
}

/// Which shard of so many is the calling thread's.
pub fn shard_of_thread(shards: usize) -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static INDEX: Cell<Option<usize>> = const { Cell::new(None) };
    }
    let index = INDEX.get().unwrap_or_else(|| {
        let index = NEXT.fetch_add(1, Ordering::Relaxed);
        INDEX.set(Some(index));
        index
    });
    index % shards
}

// === impl Series ===

impl<K, V: Value> Series<K, V> {
    /// No series yet; `threads` of them count without waiting for each other, `limit` is how many series there may be.
    pub fn new(name: &'static str, threads: usize, limit: usize) -> Self {
        Self {
            name,
            shards: (0..threads.max(1)).map(|_| Shard::new()).collect(),
            hasher: DefaultHashBuilder::default(),
            known: Mutex::default(),
            limit,
            clock: AtomicU64::new(0),
            is_full: AtomicBool::new(false),
            walk: Mutex::default(),
        }
    }

    /// Counts, and gives back what `change` does.
    pub fn update<R>(&self, query: &impl Query<K>, change: impl FnOnce(&mut V) -> R) -> R {
        let hash = self.hasher.hash_one(query);
        let clock = self.clock.load(Ordering::Relaxed);
        // In bounds: `shard_of_thread` gives less than the length, which is not 0.
        let mut held = self.shards[shard_of_thread(self.shards.len())].0.lock();
        let held = &mut *held;
        let found = held
            .index
            .find(hash, |place| query.is(&held.slots[*place].key))
            .copied();
        let known = found.or_else(|| Some(held.insert(hash, self.learn(hash, query)?)));
        let Some(place) = known else {
            held.overflowed += 1;
            return change(&mut held.overflow);
        };
        let slot = &mut held.slots[place];
        slot.used = clock;
        change(&mut slot.value)
    }

    /// The labels, shared with the other threads; `None` when there are too many series.
    #[cold]
    fn learn(&self, hash: u64, query: &impl Query<K>) -> Option<Arc<K>> {
        let mut known = self.known.lock();
        if let Some((_, key)) = known.find(hash, |(_, key)| query.is(key)) {
            return Some(Arc::clone(key));
        }
        if known.len() >= self.limit {
            drop(known);
            if !self.is_full.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    metrics = self.name,
                    limit = self.limit,
                    "too many series: what is new is counted as 'overflow'; raise [metrics] max-series"
                );
            }
            return None;
        }
        let key = Arc::new(query.to_key());
        known.insert_unique(hash, (hash, Arc::clone(&key)), |(hash, _)| *hash);
        Some(key)
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.known.lock().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything, added up.
    pub fn read(&self) -> Reading<K, V> {
        let _walk = self.walk.lock();
        let mut reading = Reading {
            series: Vec::new(),
            overflow: V::default(),
            overflowed: 0,
        };
        let mut places: HashMap<*const K, usize> = HashMap::new();
        self.walk(|slot| {
            let place = *places.entry(Arc::as_ptr(&slot.key)).or_insert_with(|| {
                reading.series.push((Arc::clone(&slot.key), V::default()));
                reading.series.len() - 1
            });
            reading.series[place].1.add(&slot.value);
        });
        for shard in &self.shards {
            let held = shard.0.lock();
            reading.overflow.add(&held.overflow);
            reading.overflowed += held.overflowed;
        }
        reading
    }

    /// Shows every slot of every thread, a batch at a time.
    fn walk(&self, mut visit: impl FnMut(&Slot<K, V>)) {
        for shard in &self.shards {
            let mut next = 0;
            loop {
                let held = shard.0.lock();
                let batch = held.slots.iter().skip(next).take(BATCH);
                if batch.len() == 0 {
                    break;
                }
                next += batch.len();
                batch.for_each(&mut visit);
            }
        }
    }

    /// Removes the series in which nothing was counted for `retention` (milliseconds), if what they tell of is gone, or if
    /// there is no room for others. `now` is in milliseconds since any moment. Returns how many were removed.
    ///
    /// To count costs no look at a clock: the time of the latest sweep is noted. So sweeps are to be at equal distances, of which
    /// a series stays for up to two longer.
    pub fn sweep(&self, now: u64, retention: u64, is_gone: impl Fn(&K) -> bool) -> usize {
        let _walk = self.walk.lock();
        let former = self.clock.swap(now, Ordering::Relaxed);
        let Some(limit) = former.checked_sub(retention) else {
            return 0;
        };
        let is_full = self.len() >= self.limit;
        let gone = self.expired(limit, |key| is_full || is_gone(key));
        if gone.is_empty() {
            return 0;
        }
        for shard in &self.shards {
            let mut end = shard.0.lock().slots.len();
            while end > 0 {
                let begin = end.saturating_sub(BATCH);
                shard.0.lock().remove(begin..end, |slot| {
                    // Counted in since it was looked at: it stays.
                    slot.used <= limit && gone.contains(&Arc::as_ptr(&slot.key))
                });
                end = begin;
            }
        }
        let mut known = self.known.lock();
        let before = known.len();
        // A thread takes a copy under this lock and keeps it: a single owner means that no thread has any.
        known.retain(|(_, key)| Arc::strong_count(key) > 1 || !gone.contains(&Arc::as_ptr(key)));
        if known.len() < self.limit {
            self.is_full.store(false, Ordering::Relaxed);
        }
        before - known.len()
    }

    fn expired(&self, limit: u64, is_wanted: impl Fn(&K) -> bool) -> HashSet<*const K> {
        let mut latest: HashMap<*const K, (Arc<K>, u64, V)> = HashMap::new();
        self.walk(|slot| {
            let (_, used, value) = latest
                .entry(Arc::as_ptr(&slot.key))
                .or_insert_with(|| (Arc::clone(&slot.key), 0, V::default()));
            *used = slot.used.max(*used);
            value.add(&slot.value);
        });
        latest.retain(|_, (key, used, value)| *used <= limit && !value.is_busy() && is_wanted(key));
        latest.into_keys().collect()
    }
}

impl<K, V> fmt::Debug for Series<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Series({})", self.name)
    }
}

// === impl Shard ===

impl<K, V: Value> Shard<K, V> {
    fn new() -> Self {
        Self(Mutex::new(Held {
            index: HashTable::new(),
            slots: Vec::new(),
            overflow: V::default(),
            overflowed: 0,
        }))
    }
}

// === impl Held ===

impl<K, V: Value> Held<K, V> {
    fn insert(&mut self, hash: u64, key: Arc<K>) -> usize {
        let place = self.slots.len();
        self.slots.push(Slot {
            hash,
            key,
            value: Box::default(),
            used: 0,
        });
        let slots = &self.slots;
        self.index.insert_unique(hash, place, |place| slots[*place].hash);
        place
    }

    /// Removes the slots in this range that are to go; what comes after the range moves into their places.
    fn remove(&mut self, range: std::ops::Range<usize>, is_to_go: impl Fn(&Slot<K, V>) -> bool) {
        for place in range.rev() {
            if !self.slots.get(place).is_some_and(&is_to_go) {
                continue;
            }
            let last = self.slots.len() - 1;
            let hash = self.slots[last].hash;
            let gone = self.slots.swap_remove(place);
            if let Ok(entry) = self.index.find_entry(gone.hash, |p| *p == place) {
                entry.remove();
            }
            if place != last
                && let Some(moved) = self.index.find_mut(hash, |p| *p == last)
            {
                *moved = place;
            }
        }
        if self.slots.len() < self.slots.capacity() / 4 {
            self.slots.shrink_to_fit();
            let slots = &self.slots;
            self.index.shrink_to_fit(|place| slots[*place].hash);
        }
    }
}

#[cfg(test)]
mod tests;

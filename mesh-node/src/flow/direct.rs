//! Connections past the proxy: where the proxy would do nothing but choose an endpoint of this node, the kernel connects a
//! workload straight to it.
//!
//! The first connection of a workload to a destination goes through the proxy, which notes the pair here. [`Keeper`] decides
//! whether the next ones may go straight ([`verdict`]), tells the kernel, follows the connections and ends them
//! when they may not any more. Connections and admin API only ever read what it has published.

pub mod keeper;
mod ledger;
mod pairs;
mod reach;
pub mod verdict;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use mesh_model::ResourceName;
use parking_lot::Mutex;
use tokio::sync::Notify;

pub use self::keeper::Keeper;

/// Pairs that may wait to be looked at. They are noted again by their next connection.
const MAX_WAITING: usize = 1024;

/// A workload of this node and what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The workload's slot.
    pub slot: u32,
    /// The destination.
    pub asked: SocketAddr,
}

/// What connections and the admin API know.
#[derive(Debug)]
pub struct Direct {
    /// The mesh's own ports, at which no workload is reached.
    pub mesh_ports: [u16; 3],
    is_on: AtomicBool,
    /// Pairs that need not be noted.
    known: ArcSwap<HashSet<Pair>>,
    waiting: Mutex<Vec<Pair>>,
    news: Notify,
    view: ArcSwap<View>,
}

/// What there is, for people.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Why nothing goes past the proxy, whatever is asked for.
    pub off: Option<String>,
    /// Every pair that was asked for.
    pub pairs: Vec<Arc<PairView>>,
}

/// One pair, for people.
#[derive(Debug)]
pub struct PairView {
    /// The workload.
    pub workload: ResourceName,
    /// What it asks for.
    pub asked: SocketAddr,
    /// The Service there.
    pub service: Option<ResourceName>,
    /// Where connections may go; none when they go to the proxy.
    pub endpoints: Vec<SocketAddr>,
    /// Why they go to the proxy.
    pub withheld: Option<String>,
    /// Connections past the proxy that are open.
    pub open: Arc<AtomicUsize>,
}

// === impl Direct ===

impl Direct {
    /// Nothing goes past the proxy until a [`Keeper`] runs.
    pub fn new(mesh_ports: [u16; 3]) -> Self {
        Self {
            mesh_ports,
            is_on: AtomicBool::new(false),
            known: ArcSwap::default(),
            waiting: Mutex::default(),
            news: Notify::new(),
            view: ArcSwap::from_pointee(View {
                off: Some("it has not been looked at yet".to_owned()),
                pairs: Vec::new(),
            }),
        }
    }

    /// The proxy has connected a workload to another one of this node, to carry bytes.
    pub fn note(&self, slot: u32, asked: SocketAddr) {
        let pair = Pair { slot, asked };
        if !self.is_on.load(Ordering::Relaxed) || self.known.load().contains(&pair) {
            return;
        }
        let mut waiting = self.waiting.lock();
        if waiting.len() < MAX_WAITING && !waiting.contains(&pair) {
            waiting.push(pair);
            self.news.notify_one();
        }
    }

    /// Workloads have come or gone.
    pub fn look_again(&self) {
        self.news.notify_one();
    }

    /// What there is.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }
}

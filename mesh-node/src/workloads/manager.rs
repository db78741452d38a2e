//! Brings what is enrolled in line with the snapshot and with the cgroups that exist.
//!
//! One pass looks at every workload of the node; it runs at every new snapshot and at a steady pace, because a
//! cgroup comes and goes without telling. A pass that fails for one workload goes on with the next, and tries again
//! at the next pass.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mesh_model::{NetworkMode, ResourceName, Workload};
use mesh_runtime::drain::Drain;
use mesh_runtime::readiness::Condition;
use parking_lot::Mutex;

use super::attachment::{self, Found, Waiting};
use super::listeners::{self, ListenError, Listeners};
use crate::capture::{CaptureError, Enrolment};
use crate::flow::context::Context;
use crate::identity::tls::Shown;
use crate::local::LocalWorkload;
use crate::net::cores::Cores;
use crate::net::namespace::Namespace;

/// Pause between two looks at the cgroups: how long a workload that has just come may wait for its enrolment, and
/// its connections are refused or not yet captured.
const PACE: Duration = Duration::from_millis(100);

/// Why a workload is not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// It has not come up yet.
    #[error(transparent)]
    Waiting(#[from] Waiting),
    /// The listeners could not be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The kernel programs could not be attached.
    #[error(transparent)]
    Capture(#[from] CaptureError),
}

/// What the snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Empty: there is no configuration yet.
    Nothing,
    /// What was true when a former process wrote it to disk. Whom it does not name may have come since: nobody is
    /// released for that, or his traffic would go past the mesh until the control plane is back.
    Former,
    /// What the control plane says.
    Current,
}

/// Why local workloads are not enrolled, by name: for the admin API.
pub type Reasons = Arc<Mutex<BTreeMap<ResourceName, String>>>;

/// Owns the enrolment.
#[derive(Debug)]
pub struct Manager {
    /// Handles.
    pub context: Arc<Context>,
    /// Runs the connections.
    pub cores: Cores,
    /// Mount point of the cgroup v2 hierarchy.
    pub hierarchy: PathBuf,
    /// Met after the first pass with a configuration.
    pub enrolled: Condition,
    /// Filled at every pass.
    pub reasons: Reasons,
}

/// What has been done.
#[derive(Debug, Default)]
struct State {
    next_slot: u32,
    enrolled: BTreeMap<ResourceName, Enrolled>,
    /// The listeners of the node's own namespace, shared by its host-network workloads.
    host: Option<(Arc<Namespace>, Listeners)>,
    /// Cgroups that could not be released; tried again at each pass.
    unreleased: BTreeSet<PathBuf>,
    has_retained: bool,
}

#[derive(Debug)]
struct Enrolled {
    local: Arc<LocalWorkload>,
    inode: u64,
    /// Of its own namespace; a host-network workload has none.
    listeners: Option<Listeners>,
}

// === impl Manager ===

impl Manager {
    /// Runs until `drain` stops. Leaves enrolled what is, so that nothing goes past the mesh meanwhile; closes the
    /// listeners.
    pub async fn run(self, known: impl Fn() -> Known + Send + Sync + 'static, drain: Drain) {
        let mut changes = self.context.store.watch();
        let manager = Arc::new(self);
        let state = Arc::new(Mutex::new(State::default()));
        while !drain.is_stopping() {
            changes.borrow_and_update();
            let (manager, state) = (Arc::clone(&manager), Arc::clone(&state));
            let known = known();
            // Attaching programs and entering namespaces are system calls that may take a moment.
            let pass = tokio::task::spawn_blocking(move || manager.pass(&mut state.lock(), known));
            if let Err(error) = pass.await {
                tracing::error!(%error, "a pass over the workloads failed");
            }
            tokio::select! {
                () = tokio::time::sleep(PACE) => {}
                _ = changes.changed() => {}
                () = drain.stopping() => {}
            }
        }
    }

    fn pass(&self, state: &mut State, known: Known) {
        let snapshot = self.context.store.load();
        let wanted: BTreeMap<&ResourceName, &Arc<Workload>> = snapshot
            .workloads()
            .filter(|w| w.node == self.context.node && w.is_enrolled())
            .map(|w| (&w.name, w))
            .collect();
        self.release_gone(state, &wanted);
        let mut reasons = BTreeMap::new();
        for (name, workload) in &wanted {
            if state.enrolled.contains_key(*name) {
                continue;
            }
            if let Err(error) = self.enrol(state, workload) {
                let reason = error.to_string();
                let is_news = self.reasons.lock().get(*name) != Some(&reason);
                if is_news {
                    if matches!(error, EnrolError::Waiting(_)) {
                        tracing::info!(workload = %name, reason, "not enrolled yet");
                    } else {
                        tracing::error!(workload = %name, reason, "cannot enrol; trying again");
                    }
                }
                reasons.insert((*name).clone(), reason);
            }
        }
        // After the enrolments: one host-network workload may have followed on another.
        Self::close_unused(state);
        *self.reasons.lock() = reasons;
        self.context.metrics.set_enrolled(state.enrolled.len());
        if known == Known::Current {
            self.retain_once(state);
        }
        if known != Known::Nothing {
            self.enrolled.met();
        }
    }

    /// Releases what is no longer wanted, or is not what it was. A workload whose processes stay what they are is
    /// not touched, whatever else its manifest says now.
    fn release_gone(&self, state: &mut State, wanted: &BTreeMap<&ResourceName, &Arc<Workload>>) {
        for (name, workload) in wanted {
            if let Some(enrolled) = state.enrolled.get_mut(*name)
                && enrolled.local.workload != **workload
                && enrolled.may_stay(workload)
            {
                enrolled.local = Arc::new(enrolled.local.with(Arc::clone(workload)));
                self.context.locals.insert(&enrolled.local);
                tracing::info!(workload = %name, "its manifest changed; it stays enrolled");
            }
        }
        self.release_left_over(state);
        let gone: Vec<ResourceName> = state
            .enrolled
            .iter()
            .filter(|(name, enrolled)| {
                wanted
                    .get(name)
                    .is_none_or(|workload| enrolled.local.workload != **workload)
                    || enrolled.is_gone()
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            let Some(enrolled) = state.enrolled.remove(&name) else {
                continue;
            };
            let stays = wanted.contains_key(&name) && !enrolled.is_gone();
            tracing::info!(workload = %name, "released");
            self.context.locals.remove(&name);
            self.context.direct.look_again();
            enrolled.local.close();
            // A workload that merely changes is enrolled anew in this very pass, and captured all the while.
            if !stays && let Err(error) = self.context.capture.release(&enrolled.local.cgroup) {
                tracing::error!(workload = %name, %error, "cannot detach the kernel programs; trying again");
                state.unreleased.insert(enrolled.local.cgroup.clone());
            }
            if let Some(listeners) = enrolled.listeners {
                listeners.close();
            }
        }
    }

    fn release_left_over(&self, state: &mut State) {
        let State {
            unreleased, enrolled, ..
        } = state;
        unreleased.retain(|cgroup| {
            let is_enrolled = enrolled.values().any(|one| one.local.cgroup == *cgroup);
            !is_enrolled && self.context.capture.release(cgroup).is_err()
        });
    }

    /// Closes the listeners of the node's own namespace when no workload is left there.
    fn close_unused(state: &mut State) {
        let is_host = |enrolled: &Enrolled| enrolled.local.workload.network == NetworkMode::Host;
        if !state.enrolled.values().any(is_host)
            && let Some((_, listeners)) = state.host.take()
        {
            listeners.close();
        }
    }

    fn enrol(&self, state: &mut State, workload: &Arc<Workload>) -> Result<(), EnrolError> {
        let Some(attachment) = &workload.attachment else {
            // The control plane tells a node how its own workloads are attached; without, there is nothing to find.
            return Err(Waiting::Cgroup(self.hierarchy.clone()).into());
        };
        let Found {
            cgroup,
            inode,
            namespace,
        } = attachment::find(&self.hierarchy, attachment, workload.network)?;
        let namespace = match (workload.network, &state.host) {
            (NetworkMode::Host, Some((host, _))) => Arc::clone(host),
            _ => Arc::new(namespace),
        };
        let slot = state.next_slot;
        let local = Arc::new(LocalWorkload::new(
            slot,
            Arc::clone(workload),
            Arc::clone(&namespace),
            cgroup.clone(),
        ));
        let listeners = match workload.network {
            NetworkMode::Own => {
                let shown = Shown::One(workload.identity.clone());
                Some(listeners::open(
                    &self.context,
                    &self.cores,
                    &namespace,
                    shown,
                    Some(&local.drain),
                )?)
            }
            NetworkMode::Host => {
                if state.host.is_none() {
                    let shown = Shown::HostNetwork;
                    let opened = listeners::open(&self.context, &self.cores, &namespace, shown, None)?;
                    state.host = Some((Arc::clone(&namespace), opened));
                }
                None
            }
        };
        let (v4, v6) = redirect_addresses(workload);
        let enrolment = Enrolment {
            slot,
            cgroup,
            netns_cookie: namespace.cookie(),
            v4,
            v6,
        };
        self.context.locals.insert(&local);
        if let Err(error) = self.context.capture.enrol(&enrolment) {
            self.context.locals.remove(&workload.name);
            return Err(error.into());
        }
        state.next_slot += 1;
        tracing::info!(workload = %workload.name, identity = %workload.identity, cgroup = %local.cgroup.display(), "enrolled");
        state.enrolled.insert(
            workload.name.clone(),
            Enrolled {
                local,
                inode,
                listeners,
            },
        );
        Ok(())
    }

    /// Once the configuration of now is known, what a former process left enrolled and nobody wants is released.
    fn retain_once(&self, state: &mut State) {
        if state.has_retained {
            return;
        }
        let wanted: BTreeSet<PathBuf> = self
            .context
            .store
            .load()
            .workloads()
            .filter(|w| w.node == self.context.node && w.is_enrolled())
            .filter_map(|w| Some(self.hierarchy.join(&w.attachment.as_ref()?.cgroup)))
            .collect();
        match self
            .context
            .capture
            .retain(&wanted.into_iter().collect::<Vec<_>>())
        {
            Ok(()) => state.has_retained = true,
            Err(error) => tracing::error!(%error, "cannot release what a former process left; trying again"),
        }
    }
}

// === impl Enrolled ===

impl Enrolled {
    /// Whether the processes that were enrolled are gone: the cgroup or the namespace is another one now.
    fn is_gone(&self) -> bool {
        let Some(attachment) = &self.local.workload.attachment else {
            return true;
        };
        match attachment::inode(&self.local.cgroup) {
            Ok(inode) if inode != self.inode => return true,
            Err(error) if error.kind() == ErrorKind::NotFound => return true,
            // That we can't look says nothing: letting go of it would send its traffic past the mesh.
            Ok(_) | Err(_) => {}
        }
        let network = self.local.workload.network;
        let Ok(path) = attachment::namespace_file(&self.local.cgroup, attachment, network) else {
            // No process to tell by at the moment; its listeners are not in anybody's way.
            return false;
        };
        match self.local.namespace.is_named_by(&path) {
            Ok(is_named) => !is_named,
            // A file from the manifest that is gone takes the namespace with it; a process may simply have ended.
            Err(error) => error.kind() == ErrorKind::NotFound && attachment.network_namespace.is_some(),
        }
    }

    /// Whether what the manifest says now makes no difference to listeners, programs and identity.
    fn may_stay(&self, workload: &Workload) -> bool {
        let current = &self.local.workload;
        current.identity == workload.identity
            && current.addresses == workload.addresses
            && current.network == workload.network
            && current.attachment == workload.attachment
    }
}

/// Where captured connections are redirected to: in a namespace of its own to the workload's own address, so that
/// its getsockname() stays sane; on the host's network, and where it has no address of a family, to the loopback.
fn redirect_addresses(workload: &Workload) -> (Ipv4Addr, Ipv6Addr) {
    let own = |address: &&IpAddr| workload.network == NetworkMode::Own && !address.is_unspecified();
    let mut v4 = Ipv4Addr::LOCALHOST;
    let mut v6 = Ipv6Addr::LOCALHOST;
    for address in workload.addresses.iter().rev().filter(own) {
        match address {
            IpAddr::V4(address) => v4 = *address,
            IpAddr::V6(address) => v6 = *address,
        }
    }
    (v4, v6)
}

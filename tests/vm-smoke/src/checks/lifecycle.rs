//! Start, stop and what stays behind.

use std::{
    fs, io,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::{maps::MapInfo, programs::loaded_programs};
use mesh_abi::{MAPS, program};
use mesh_node::capture::{Capture, Hierarchy, KernelLog, probe};

use super::{counter, expect_captured, expect_errno, host_network};
use crate::{
    client::{FAR_V4, FAR_V6, Request, far_mapped},
    namespace::own_cookie,
    proxy::{Listeners, Pair},
    stage::{Stage, stop},
};

/// Longest that the kernel may take to free a detached program (it waits for readers).
const GONE: Duration = Duration::from_secs(5);

/// Hears what is logged.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<u8>>>);

impl io::Write for Ear {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut heard = self.0.lock().map_err(|_| io::Error::other("poisoned"))?;
        heard.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Ids of the stage's pinned maps.
fn maps(stage: &Stage) -> Vec<u32> {
    let pinned = stage.pinned();
    let maps = pinned
        .iter()
        .filter(|path| path.parent().is_some_and(|folder| folder.ends_with("maps")));
    maps.filter_map(|path| MapInfo::from_pin(path).ok())
        .map(|info| info.id())
        .collect()
}

/// Names of the loaded programs that use any of these maps, sorted. Others may run nodes on this kernel meanwhile.
fn users(maps: &[u32]) -> Vec<String> {
    // A program may go away between the listing and the look at it.
    let loaded = loaded_programs().filter_map(Result::ok);
    let ours = loaded.filter(|info| {
        let used = info.map_ids().ok().flatten().unwrap_or_default();
        used.iter().any(|id| maps.contains(id))
    });
    let mut names: Vec<String> = ours
        .map(|info| info.name_as_str().unwrap_or_default().to_owned())
        .collect();
    names.sort_unstable();
    names
}

pub(super) fn every_program_is_attached_and_pinned(stage: &Stage) -> Result<()> {
    for probe in probe::run(&stage.pins) {
        ensure!(probe.ok, "{}: {}; {}", probe.name, probe.found, probe.advice);
    }
    let (capture, listeners, _) = host_network(stage)?;
    // The kernel keeps 15 characters of a name.
    let mut expected: Vec<&str> = program::ALL
        .iter()
        .map(|name| name.get(..15).unwrap_or(name))
        .collect();
    expected.sort_unstable();
    ensure!(
        users(&maps(stage)) == expected,
        "loaded: {:?}",
        users(&maps(stage))
    );
    let pinned = stage.pinned();
    for hook in ["connect4", "connect6", "getpeername4", "getpeername6", "sock_ops"] {
        ensure!(
            pinned.iter().any(|path| path.ends_with(hook)),
            "{hook} is not pinned: {pinned:?}"
        );
    }
    ensure!(
        capture.counters()?.iter().all(|(_, n)| *n == 0),
        "{:?}",
        capture.counters()?
    );
    drop(listeners);
    stop(capture)
}

pub(super) fn release_leaves_nothing(stage: &Stage) -> Result<()> {
    let (capture, listeners, _) = host_network(stage)?;
    let request = Request::new(&stage.cgroup("workload"), &[FAR_V4]);
    for attempt in stage.client(&request, None)? {
        expect_captured(&attempt)?;
    }
    capture.release(&stage.cgroup("workload"))?;
    for attempt in stage.client(&request, None)? {
        expect_errno(&attempt, libc::ENETUNREACH)?;
    }
    // Releasing what is not enrolled is no error, and enrolling again works.
    capture.release(&stage.cgroup("workload"))?;
    capture.enrol(&stage.host_workload()?)?;
    for attempt in stage.client(&request, None)? {
        expect_captured(&attempt)?;
    }
    drop(listeners);
    let maps = maps(stage);
    ensure!(maps.len() == MAPS.len(), "{maps:?}");
    stop(capture)?;
    ensure!(
        stage.pinned().is_empty() && !stage.pins.exists(),
        "left: {:?}",
        stage.pinned()
    );
    let deadline = Instant::now() + GONE;
    while !users(&maps).is_empty() {
        ensure!(Instant::now() < deadline, "programs are left: {:?}", users(&maps));
        thread::sleep(Duration::from_millis(10));
    }
    let own = Hierarchy::find()?.context("cgroup2 is not mounted")?.own()?;
    ensure!(
        own != stage.cgroup("proxy"),
        "the process is still in {}",
        own.display()
    );
    Ok(())
}

pub(super) fn a_removed_cgroup_is_forgotten(stage: &Stage) -> Result<()> {
    let (capture, listeners, _) = host_network(stage)?;
    fs::remove_dir(stage.cgroup("workload/child"))?;
    fs::remove_dir(stage.cgroup("workload"))?;
    capture.release(&stage.cgroup("workload"))?;
    ensure!(
        !stage.pinned().iter().any(|path| path.ends_with("connect4")),
        "left: {:?}",
        stage.pinned()
    );

    // Removed and made again under the same path, without a release between.
    fs::create_dir(stage.cgroup("workload"))?;
    capture.enrol(&stage.host_workload()?)?;
    fs::remove_dir(stage.cgroup("workload"))?;
    fs::create_dir(stage.cgroup("workload"))?;
    capture.enrol(&stage.host_workload()?)?;
    for attempt in stage.client(&Request::new(&stage.cgroup("workload"), &[FAR_V6]), None)? {
        expect_captured(&attempt)?;
    }
    let links = stage
        .pinned()
        .iter()
        .filter(|path| path.ends_with("connect4"))
        .count();
    ensure!(links == 1, "{links} links: {:?}", stage.pinned());
    drop(listeners);
    stop(capture)
}

pub(super) fn the_root_cgroup_is_never_attached(stage: &Stage) -> Result<()> {
    let hierarchy = Hierarchy::find()?.context("cgroup2 is not mounted")?;
    let own = hierarchy.own()?;
    fs::write(
        hierarchy.mount.join("cgroup.procs"),
        std::process::id().to_string(),
    )?;
    let mut settings = stage.settings(15001);
    settings.proxy_cgroup = None;
    settings.node = format!("smoke-{}", std::process::id());
    let child = hierarchy.mount.join(format!("nodemesh-proxy-{}", settings.node));
    let capture = Capture::start(&settings)?;
    ensure!(hierarchy.own()? == child, "in {}", hierarchy.own()?.display());
    capture.stop()?;
    ensure!(
        hierarchy.own()? == hierarchy.mount && !child.exists(),
        "in {}",
        hierarchy.own()?.display()
    );

    settings.proxy_cgroup = Some(hierarchy.mount.clone());
    ensure!(Capture::start(&settings).is_err(), "attached to the root");
    fs::write(own.join("cgroup.procs"), std::process::id().to_string())?;
    Ok(())
}

/// Loading with every log call compiled in is the hard case for older verifiers.
pub(super) fn the_kernel_log_loads_and_speaks(stage: &Stage) -> Result<()> {
    let ear = Ear::default();
    let writer = ear.clone();
    // Of the whole process, since the records come from a thread of capture's own. Nobody else here listens.
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .try_init()
        .map_err(|error| anyhow::anyhow!("subscribe to the log: {error}"))?;
    let pair = Pair::loopback()?;
    let mut settings = stage.settings(pair.port);
    settings.kernel_log = KernelLog::Trace;
    let capture = Arc::new(Capture::start(&settings)?);
    capture.enrol(&stage.host_workload()?)?;
    let mut listeners = Listeners::default();
    listeners.proxy(pair, &capture, own_cookie()?);
    let refused = std::net::SocketAddr::new(FAR_V4.ip(), 15008);
    let request = Request::new(
        &stage.cgroup("workload"),
        &[FAR_V4, FAR_V6, far_mapped(), refused],
    );
    let attempts = stage.client(&request, None)?;
    for attempt in attempts.iter().take(3) {
        expect_captured(attempt)?;
    }
    ensure!(counter(&capture, "captured")? == 3, "{:?}", capture.counters()?);
    ensure!(
        counter(&capture, "denied_mesh_port")? == 1,
        "{:?}",
        capture.counters()?
    );
    drop(listeners);
    // The reader ends with capture, after a last look.
    stop(capture)?;
    let spoken = ear
        .0
        .lock()
        .map_err(|_| anyhow::anyhow!("the log's writer panicked"))?;
    let text = String::from_utf8_lossy(&spoken);
    for wanted in [
        "captured ::ffff:10.1.2.3:80 of slot 7",
        "captured 2001:db8::1:80 of slot 7",
        "refused ::ffff:10.1.2.3:15008",
        "published source port",
    ] {
        ensure!(text.contains(wanted), "the log lacks {wanted:?}");
    }
    Ok(())
}

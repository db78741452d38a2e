//! Start, stop and what stays behind.

use std::{fs, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use aya::programs::loaded_programs;
use mesh_abi::program;
use mesh_node::capture::{Capture, Hierarchy, KernelLog, probe};

use super::{counter, expect_captured, expect_errno, host_network};
use crate::{
    client::{FAR_V4, FAR_V6, Request, far_mapped},
    namespace::own_cookie,
    proxy::{Listeners, Pair},
    stage::{Stage, stop},
};

/// Ids of the loaded programs that bear our names. The kernel keeps 15 characters.
fn ours() -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    for info in loaded_programs() {
        // A program may go away between the listing and the look at it.
        let Ok(info) = info else { continue };
        let name = info.name_as_str().unwrap_or_default();
        if program::ALL
            .iter()
            .any(|ours| ours.get(..15).unwrap_or(ours) == name)
        {
            ids.push(info.id());
        }
    }
    ids.sort_unstable();
    Ok(ids)
}

pub(super) fn every_program_is_attached_and_pinned(stage: &Stage) -> Result<()> {
    for probe in probe::run(&stage.pins) {
        ensure!(probe.ok, "{}: {}; {}", probe.name, probe.found, probe.advice);
    }
    let before = ours()?;
    let (capture, listeners, _) = host_network(stage)?;
    let loaded = ours()?.into_iter().filter(|id| !before.contains(id)).count();
    ensure!(loaded == program::ALL.len(), "{loaded} programs are loaded");
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
    let before = ours()?;
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
    stop(capture)?;
    ensure!(
        stage.pinned().is_empty() && !stage.pins.exists(),
        "left: {:?}",
        stage.pinned()
    );
    ensure!(
        ours()?.iter().all(|id| before.contains(id)),
        "programs are left: {:?}",
        ours()?
    );
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
    stop(capture)
}

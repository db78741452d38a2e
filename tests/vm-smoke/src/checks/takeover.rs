//! From one process to the next.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Result, ensure};
use aya::maps::{Array, MapData};
use mesh_abi::{LAYOUT_VERSION, map};
use mesh_node::capture::{Capture, CaptureError, OnStop};

use super::{expect_captured, expect_errno, host_network};
use crate::{
    client::{FAR_V4, FAR_V6, Request, far_mapped},
    namespace::own_cookie,
    owner,
    proxy::{Listeners, Pair},
    stage::{Stage, stop},
};

pub(super) fn a_killed_owner_leaves_nothing_in_clear(stage: &Stage) -> Result<()> {
    let pair = Pair::loopback()?;
    let port = pair.port;
    drop(pair);
    let cookie = own_cookie()?;
    let owner = owner::Request {
        pins: stage.pins.clone(),
        proxy_cgroup: stage.cgroup("proxy"),
        workload: stage.cgroup("workload"),
        slot: 7,
        cookie,
        port,
    };
    let request = Request::new(&stage.cgroup("workload/child"), &[FAR_V4, FAR_V6, far_mapped()]);
    let first = owner.start(&stage.program)?;
    for attempt in stage.client(&request, None)? {
        expect_captured(&attempt)?;
    }
    first.kill()?;
    for attempt in stage.client(&request, None)? {
        expect_errno(&attempt, libc::ECONNREFUSED)?;
    }
    let second = owner.start(&stage.program)?;
    for attempt in stage.client(&request, None)? {
        expect_captured(&attempt)?;
    }
    second.kill()?;

    // A third start takes over too, and its release leaves nothing.
    let pair = Pair::loopback_on(port)?;
    let capture = Arc::new(Capture::start(&stage.settings(port))?);
    let mut listeners = Listeners::default();
    listeners.proxy(pair, &capture, cookie);
    for attempt in stage.client(&request, None)? {
        // Not enrolled here yet: still brought to the proxy, but whose the dead process's slots are is not known.
        ensure!(attempt.reply == "unknown", "{attempt:?}");
    }
    capture.enrol(&stage.host_workload()?)?;
    for attempt in stage.client(&request, None)? {
        expect_captured(&attempt)?;
    }
    drop(listeners);
    stop(capture)?;
    ensure!(!stage.pins.exists(), "left: {:?}", stage.pinned());
    Ok(())
}

pub(super) fn programs_are_replaced_without_a_gap(stage: &Stage) -> Result<()> {
    let (capture, listeners, port) = host_network(stage)?;
    let mut request = Request::new(&stage.cgroup("workload"), &[FAR_V4, FAR_V6, far_mapped()]);
    request.repeat = 300;
    let done = AtomicBool::new(false);
    let workload = stage.host_workload()?;
    let (attempts, updates) = thread::scope(|scope| {
        let client = scope.spawn(|| {
            let attempts = stage.client(&request, None);
            done.store(true, Ordering::Relaxed);
            attempts
        });
        let mut updates = 0_u32;
        while !done.load(Ordering::Relaxed) {
            capture.enrol(&workload)?;
            updates += 1;
        }
        let attempts = client
            .join()
            .map_err(|_| anyhow::anyhow!("the client's thread panicked"))??;
        anyhow::Ok((attempts, updates))
    })?;
    ensure!(
        attempts.len() == 900 && updates > 10,
        "{} connects, {updates} updates",
        attempts.len()
    );
    for attempt in &attempts {
        expect_captured(attempt)?;
    }
    drop(listeners);
    drop(capture);

    // The same with programs that were loaded anew by a process that starts while the pins are there.
    let pair = Pair::loopback_on(port)?;
    let capture = Arc::new(Capture::start(&stage.settings(port))?);
    capture.enrol(&workload)?;
    let mut listeners = Listeners::default();
    listeners.proxy(pair, &capture, workload.netns_cookie);
    request.repeat = 1;
    for attempt in stage.client(&request, None)? {
        expect_captured(&attempt)?;
    }
    drop(listeners);
    stop(capture)
}

pub(super) fn what_is_no_longer_configured_is_released(stage: &Stage) -> Result<()> {
    let mut settings = stage.settings(15001);
    settings.on_stop = OnStop::Keep;
    let capture = Capture::start(&settings)?;
    let mut other = stage.host_workload()?;
    other.cgroup = stage.cgroup("other");
    (other.v4, other.v6) = (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
    capture.enrol(&stage.host_workload()?)?;
    capture.enrol(&other)?;
    capture.stop()?;
    let links = || {
        stage
            .pinned()
            .iter()
            .filter(|path| path.ends_with("connect4"))
            .count()
    };
    ensure!(links() == 2, "{:?}", stage.pinned());
    // What a version with another layout left.
    let foreign = stage.pins.join("v999999");
    fs::create_dir(&foreign)?;

    settings.on_stop = OnStop::Release;
    let capture = Capture::start(&settings)?;
    capture.enrol(&other)?;
    capture.retain(&[stage.cgroup("other")])?;
    ensure!(links() == 1 && !foreign.exists(), "{:?}", stage.pinned());
    capture.stop()?;
    ensure!(!stage.pins.exists(), "left: {:?}", stage.pinned());
    Ok(())
}

pub(super) fn a_second_owner_is_refused(stage: &Stage) -> Result<()> {
    let capture = Capture::start(&stage.settings(15001))?;
    match Capture::start(&stage.settings(15001)) {
        Err(CaptureError::Busy { .. }) => {}
        other => anyhow::bail!("expected to be refused: {:?}", other.map(drop)),
    }
    capture.stop()?;
    Ok(())
}

pub(super) fn an_incompatible_pinned_map_is_refused(stage: &Stage) -> Result<()> {
    // Makes the folders.
    let mut settings = stage.settings(15001);
    settings.on_stop = OnStop::Keep;
    Capture::start(&settings)?.stop()?;
    let path = stage.pins.join(format!("v{LAYOUT_VERSION}/maps/{}", map::FLOWS));
    fs::remove_file(&path)?;
    let other = Array::<MapData, u64>::create(1, 0)?;
    other.pin(&path)?;
    match Capture::start(&settings) {
        Err(error @ CaptureError::Layout { .. }) => {
            let text = error.to_string();
            ensure!(text.contains(map::FLOWS) && text.contains("remove"), "{text}");
        }
        other => anyhow::bail!("expected to be refused: {:?}", other.map(drop)),
    }
    Ok(())
}

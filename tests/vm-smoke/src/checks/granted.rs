//! Connections that the node has granted: they go straight to an endpoint, and are told of.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use mesh_node::capture::{Capture, DirectConnection, DirectEndpoint, DirectKey, DirectState, Enrolment};

use super::{counter, expect_captured, expect_errno, host_network};
use crate::{
    client::{Attempt, FAR_V4, FAR_V6, Request, far_mapped},
    namespace::own_cookie,
    proxy::{Listeners, Pair},
    stage::{Stage, stop},
};

/// Longer than a check takes, under emulation at worst.
const LEASE: Duration = Duration::from_mins(2);

/// Grants the far addresses, each to the loopback address of its family.
fn grant(capture: &Capture, stage: &Stage, cgroup: &str, slot: u32, port: u16) -> Result<[DirectKey; 2]> {
    let cgroup = capture
        .cgroup_id(&stage.cgroup(cgroup))
        .context("the cgroup is not enrolled")?;
    let keys = [FAR_V4, FAR_V6].map(|destination| DirectKey { cgroup, destination });
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    for (key, ip) in keys.iter().zip(loopback) {
        let endpoint = DirectEndpoint {
            address: SocketAddr::new(ip, port),
            slot: 8,
            weight: 1,
        };
        capture.grant_direct(key, slot, &[endpoint])?;
    }
    Ok(keys)
}

fn ask(stage: &Stage, cgroup: &str) -> Result<Vec<Attempt>> {
    let request = Request::new(&stage.cgroup(cgroup), &[FAR_V4, FAR_V6, far_mapped()]);
    stage.client(&request, None)
}

fn expect_direct(attempt: &Attempt) -> Result<()> {
    ensure!(attempt.reply == "direct", "not past the proxy: {attempt:?}");
    ensure!(
        attempt.peer == Some(attempt.target),
        "getpeername shows something else: {attempt:?}"
    );
    Ok(())
}

fn events(capture: &Capture) -> Result<Vec<DirectConnection>> {
    let mut events = Vec::new();
    capture.direct_events(|event| events.push(event))?;
    Ok(events)
}

/// The stage's workload enrolled, and a server that it may be granted.
fn prepared(stage: &Stage) -> Result<(std::sync::Arc<Capture>, Listeners, u16, u16)> {
    let (capture, mut listeners, outbound) = host_network(stage)?;
    let server = Pair::loopback()?;
    let port = server.port;
    listeners.plain(server);
    Ok((capture, listeners, outbound, port))
}

pub(super) fn granted_connections_go_straight_and_are_told_of(stage: &Stage) -> Result<()> {
    let (capture, listeners, _, port) = prepared(stage)?;
    grant(&capture, stage, "workload", 7, port)?;
    for attempt in ask(stage, "workload")? {
        expect_captured(&attempt).context("without a lease")?;
    }
    capture.lease_direct(LEASE)?;
    for cgroup in ["workload", "workload/child"] {
        for attempt in ask(stage, cgroup)? {
            expect_direct(&attempt)?;
        }
        let told = events(&capture)?;
        let of = |state| told.iter().filter(move |event| event.state == state);
        let over = DirectState::Closed { is_broken: false };
        ensure!(
            of(DirectState::Open).count() == 3 && of(over).count() == 3,
            "{told:?}"
        );
        for event in of(over) {
            ensure!((event.sent, event.received) == (0, 6), "{event:?}");
            ensure!(
                event.slot == Some(7) && event.endpoint_slot == Some(8),
                "{event:?}"
            );
            ensure!(
                event.endpoint.port() == port && event.source.port() != 0,
                "{event:?}"
            );
            ensure!([FAR_V4, FAR_V6].contains(&event.destination), "{event:?}");
        }
    }
    ensure!(capture.direct_connections()?.is_empty(), "some are left");
    ensure!(counter(&capture, "direct")? == 6, "{:?}", capture.counters()?);
    drop(listeners);
    stop(capture)
}

pub(super) fn grants_that_do_not_hold_lead_to_the_proxy(stage: &Stage) -> Result<()> {
    let (capture, listeners, outbound, port) = prepared(stage)?;
    capture.lease_direct(LEASE)?;
    // Of another enrolment, and to a port of the mesh's.
    for (slot, port) in [(6, port), (7, outbound), (7, 15008)] {
        grant(&capture, stage, "workload", slot, port)?;
        for attempt in ask(stage, "workload")? {
            expect_captured(&attempt).with_context(|| format!("slot {slot}, port {port}"))?;
        }
    }
    for key in grant(&capture, stage, "workload", 7, port)? {
        capture.withdraw_direct(&key)?;
    }
    for attempt in ask(stage, "workload")? {
        expect_captured(&attempt).context("withdrawn")?;
    }
    grant(&capture, stage, "workload", 7, port)?;
    capture.lease_direct(Duration::ZERO)?;
    for attempt in ask(stage, "workload")? {
        expect_captured(&attempt).context("the lease is over")?;
    }
    ensure!(events(&capture)?.is_empty() && capture.direct_connections()?.is_empty());
    drop(listeners);
    stop(capture)
}

pub(super) fn a_grant_of_the_deepest_enrolled_cgroup_counts(stage: &Stage) -> Result<()> {
    let (capture, listeners, _, port) = prepared(stage)?;
    capture.lease_direct(LEASE)?;
    capture.enrol(&Enrolment {
        slot: 9,
        cgroup: stage.cgroup("workload/child"),
        netns_cookie: own_cookie()?,
        v4: Ipv4Addr::LOCALHOST,
        v6: Ipv6Addr::LOCALHOST,
    })?;
    grant(&capture, stage, "workload/child", 9, port)?;
    // The hooks of both cgroups run for each.
    for attempt in ask(stage, "workload/child")? {
        expect_direct(&attempt)?;
    }
    let told = events(&capture)?;
    ensure!(told.len() == 6, "one opening and one end each: {told:?}");
    for attempt in ask(stage, "workload")? {
        expect_captured(&attempt)?;
    }
    drop(listeners);
    stop(capture)
}

pub(super) fn a_refused_granted_connection_is_told_of(stage: &Stage) -> Result<()> {
    let (capture, listeners, _, _) = prepared(stage)?;
    capture.lease_direct(LEASE)?;
    let nobody = Pair::loopback()?.port;
    grant(&capture, stage, "workload", 7, nobody)?;
    for attempt in ask(stage, "workload")? {
        expect_errno(&attempt, libc::ECONNREFUSED)?;
    }
    let told = events(&capture)?;
    ensure!(told.len() == 3, "{told:?}");
    ensure!(
        told.iter().all(|event| event.state == DirectState::Failed),
        "{told:?}"
    );
    ensure!(capture.direct_connections()?.is_empty(), "some are left");
    drop(listeners);
    stop(capture)
}

//! What becomes of a connect: captured, refused or untouched.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::{Result, ensure};
use mesh_node::capture::{Capture, Enrolment};

use super::{counter, expect_captured, expect_errno, host_network};
use crate::{
    client::{FAR_V4, FAR_V6, Request, far_mapped},
    namespace::{self, Namespace, own_cookie},
    proxy::{Listeners, Pair},
    stage::{Stage, stop},
};

pub(super) fn host_network_connections_reach_the_proxy(stage: &Stage) -> Result<()> {
    let (capture, listeners, _) = host_network(stage)?;
    for cgroup in ["workload", "workload/child"] {
        let request = Request::new(&stage.cgroup(cgroup), &[FAR_V4, FAR_V6, far_mapped()]);
        let attempts = stage.client(&request, None)?;
        ensure!(attempts.len() == 3, "{attempts:?}");
        for attempt in &attempts {
            expect_captured(attempt)?;
            ensure!(
                attempt
                    .local
                    .is_some_and(|local| local.ip().to_canonical().is_loopback()),
                "{attempt:?}"
            );
        }
    }
    ensure!(counter(&capture, "captured")? == 6, "{:?}", capture.counters()?);
    ensure!(
        counter(&capture, "flow_published")? == 6,
        "{:?}",
        capture.counters()?
    );
    drop(listeners);
    stop(capture)
}

/// A namespace with a proxy inside, and the stage's workload enrolled in it.
pub(super) fn own_namespace(stage: &Stage) -> Result<(Namespace, Arc<Capture>, Listeners, u16)> {
    let namespace = Namespace::new()?;
    let cookie = namespace.cookie()?;
    let pair = Pair::inside(&namespace, Ipv4Addr::UNSPECIFIED, namespace::V6[0])?;
    let port = pair.port;
    let capture = Arc::new(Capture::start(&stage.settings(port))?);
    capture.enrol(&Enrolment {
        slot: 7,
        cgroup: stage.cgroup("workload"),
        netns_cookie: cookie,
        v4: namespace::V4[0],
        v6: namespace::V6[0],
    })?;
    let mut listeners = Listeners::default();
    listeners.proxy(pair, &capture, cookie);
    Ok((namespace, capture, listeners, port))
}

pub(super) fn own_namespace_connections_reach_the_proxy(stage: &Stage) -> Result<()> {
    let (namespace, capture, listeners, _) = own_namespace(stage)?;
    ensure!(
        namespace.cookie()? != own_cookie()?,
        "two namespaces have one cookie"
    );
    let request = Request::new(&stage.cgroup("workload/child"), &[FAR_V4, FAR_V6, far_mapped()]);
    for attempt in stage.client(&request, Some(&namespace))? {
        expect_captured(&attempt)?;
        let local = attempt.local.map(|local| local.ip().to_canonical());
        let own = [IpAddr::V4(namespace::V4[0]), IpAddr::V6(namespace::V6[0])];
        ensure!(
            local.is_some_and(|local| own.contains(&local)),
            "not its own address: {attempt:?}"
        );
    }
    drop(listeners);
    stop(capture)
}

/// The hooks of both cgroups run for the inner one's connects: the second must leave the first one's work alone.
pub(super) fn the_deepest_enrolled_cgroup_counts(stage: &Stage) -> Result<()> {
    let (capture, listeners, _) = host_network(stage)?;
    let mut inner = stage.host_workload()?;
    inner.cgroup = stage.cgroup("workload/child");
    inner.slot = 8;
    capture.enrol(&inner)?;
    for (cgroup, slot) in [("workload", 7), ("workload/child", 8)] {
        let request = Request::new(&stage.cgroup(cgroup), &[FAR_V4, FAR_V6, far_mapped()]);
        for attempt in stage.client(&request, None)? {
            ensure!(
                attempt.reply.ends_with(&format!(" {slot}")),
                "not slot {slot}: {attempt:?}"
            );
            ensure!(attempt.peer == Some(attempt.target), "{attempt:?}");
        }
    }
    ensure!(counter(&capture, "captured")? == 6, "{:?}", capture.counters()?);
    ensure!(
        counter(&capture, "flow_published")? == 6,
        "{:?}",
        capture.counters()?
    );
    let outbound = [SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 15008)];
    for attempt in stage.client(&Request::new(&stage.cgroup("workload/child"), &outbound), None)? {
        expect_errno(&attempt, libc::EPERM)?;
    }
    drop(listeners);
    stop(capture)
}

pub(super) fn mesh_ports_are_refused(stage: &Stage) -> Result<()> {
    let (capture, listeners, port) = host_network(stage)?;
    let mut targets = Vec::new();
    for port in [port, 15006, 15008] {
        for ip in [
            FAR_V4.ip(),
            FAR_V6.ip(),
            far_mapped().ip(),
            Ipv4Addr::LOCALHOST.into(),
        ] {
            targets.push(SocketAddr::new(ip, port));
        }
    }
    for attempt in stage.client(&Request::new(&stage.cgroup("workload"), &targets), None)? {
        expect_errno(&attempt, libc::EPERM)?;
    }
    ensure!(
        counter(&capture, "denied_mesh_port")? == 12,
        "{:?}",
        capture.counters()?
    );
    drop(listeners);
    stop(capture)
}

pub(super) fn a_foreign_namespace_is_refused(stage: &Stage) -> Result<()> {
    let (capture, listeners, _) = host_network(stage)?;
    let namespace = Namespace::new()?;
    let request = Request::new(&stage.cgroup("workload"), &[FAR_V4, FAR_V6, far_mapped()]);
    for attempt in stage.client(&request, Some(&namespace))? {
        expect_errno(&attempt, libc::EPERM)?;
    }
    ensure!(
        counter(&capture, "denied_namespace")? == 3,
        "{:?}",
        capture.counters()?
    );
    drop(listeners);
    stop(capture)
}

pub(super) fn a_process_of_no_workload_is_refused(stage: &Stage) -> Result<()> {
    let (capture, listeners, _) = host_network(stage)?;
    let mut request = Request::new(&stage.cgroup("workload"), &[FAR_V4]);
    request.move_to = Some(stage.cgroup("other"));
    for attempt in stage.client(&request, None)? {
        expect_errno(&attempt, libc::EPERM)?;
    }
    ensure!(
        counter(&capture, "denied_unknown")? == 1,
        "{:?}",
        capture.counters()?
    );
    drop(listeners);
    stop(capture)
}

pub(super) fn an_unenrolled_process_is_untouched(stage: &Stage) -> Result<()> {
    let (namespace, capture, mut listeners, _) = own_namespace(stage)?;
    let server = Pair::inside(&namespace, namespace::V4[1], namespace::V6[1])?;
    let targets = [
        SocketAddr::new(namespace::V4[1].into(), server.port),
        SocketAddr::new(namespace::V6[1].into(), server.port),
    ];
    listeners.plain(server);
    for attempt in stage.client(&Request::new(&stage.cgroup("other"), &targets), Some(&namespace))? {
        ensure!(
            attempt.reply == "direct" && attempt.peer == Some(attempt.target),
            "{attempt:?}"
        );
    }
    for attempt in stage.client(
        &Request::new(&stage.cgroup("workload"), &targets),
        Some(&namespace),
    )? {
        expect_captured(&attempt)?;
    }
    ensure!(counter(&capture, "captured")? == 2, "{:?}", capture.counters()?);
    drop(listeners);
    stop(capture)
}

//! What is not captured on purpose.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use anyhow::{Result, ensure};
use mesh_node::capture::{Capture, Enrolment};

use super::{connects::own_namespace, counter, expect_captured};
use crate::{
    client::{FAR_V4, FAR_V6, Request},
    namespace::{self, Namespace},
    proxy::{Listeners, Pair},
    stage::{Stage, stop},
};

pub(super) fn loopback_and_udp_pass(stage: &Stage) -> Result<()> {
    let (namespace, capture, mut listeners, _) = own_namespace(stage)?;
    let server = Pair::inside(&namespace, Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST)?;
    let targets = [
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), server.port),
        SocketAddr::new(Ipv6Addr::LOCALHOST.into(), server.port),
        SocketAddr::new(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(), server.port),
        SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), server.port),
        SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), server.port),
    ];
    listeners.plain(server);
    for attempt in stage.client(
        &Request::new(&stage.cgroup("workload"), &targets),
        Some(&namespace),
    )? {
        ensure!(attempt.reply == "direct", "{attempt:?}");
    }
    ensure!(
        counter(&capture, "passed_loopback")? == 5,
        "{:?}",
        capture.counters()?
    );

    let far = [
        SocketAddr::new(namespace::V4[1].into(), 53),
        SocketAddr::new(namespace::V6[1].into(), 53),
    ];
    let mut request = Request::new(&stage.cgroup("workload"), &far);
    request.udp = true;
    for attempt in stage.client(&request, Some(&namespace))? {
        ensure!(
            attempt.errno.is_none() && attempt.peer == Some(attempt.target),
            "{attempt:?}"
        );
    }
    ensure!(
        counter(&capture, "passed_protocol")? == 2,
        "{:?}",
        capture.counters()?
    );
    ensure!(counter(&capture, "captured")? == 0, "{:?}", capture.counters()?);
    drop(listeners);
    stop(capture)
}

pub(super) fn excluded_ports_and_networks_pass(stage: &Stage) -> Result<()> {
    let namespace = Namespace::new()?;
    let cookie = namespace.cookie()?;
    let pair = Pair::inside(&namespace, namespace::V4[0], namespace::V6[0])?;
    let by_port = Pair::inside(&namespace, namespace::V4[0], namespace::V6[0])?;
    let by_network = Pair::inside(&namespace, namespace::V4[1], namespace::V6[1])?;
    let mut settings = stage.settings(pair.port);
    settings.exclude_ports = vec![by_port.port];
    settings.exclude_cidrs = vec!["10.9.0.2/31".parse()?, "fd09::2/127".parse()?];
    let capture = Arc::new(Capture::start(&settings)?);
    capture.enrol(&Enrolment {
        slot: 7,
        cgroup: stage.cgroup("workload"),
        netns_cookie: cookie,
        v4: namespace::V4[0],
        v6: namespace::V6[0],
    })?;
    let direct = [
        SocketAddr::new(namespace::V4[0].into(), by_port.port),
        SocketAddr::new(namespace::V6[0].into(), by_port.port),
        SocketAddr::new(namespace::V4[1].into(), by_network.port),
        SocketAddr::new(namespace::V6[1].into(), by_network.port),
        SocketAddr::new(namespace::V4[1].to_ipv6_mapped().into(), by_network.port),
    ];
    let mut listeners = Listeners::default();
    listeners.proxy(pair, &capture, cookie);
    listeners.plain(by_port);
    listeners.plain(by_network);
    for attempt in stage.client(
        &Request::new(&stage.cgroup("workload"), &direct),
        Some(&namespace),
    )? {
        ensure!(
            attempt.reply == "direct" && attempt.peer == Some(attempt.target),
            "{attempt:?}"
        );
    }
    ensure!(
        counter(&capture, "passed_port")? == 2,
        "{:?}",
        capture.counters()?
    );
    ensure!(
        counter(&capture, "passed_network")? == 3,
        "{:?}",
        capture.counters()?
    );
    let captured = [
        FAR_V4,
        FAR_V6,
        SocketAddr::new(Ipv4Addr::new(10, 9, 0, 4).into(), 80),
    ];
    for attempt in stage.client(
        &Request::new(&stage.cgroup("workload"), &captured),
        Some(&namespace),
    )? {
        expect_captured(&attempt)?;
    }
    drop(listeners);
    stop(capture)
}

//! What the proxy learns of connections.

use std::{
    io::Read as _,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use mesh_node::capture::Capture;

use super::{counter, expect_captured, expect_errno, host_network};
use crate::{
    client::{FAR_V4, FAR_V6, Request, far_mapped},
    namespace::own_cookie,
    proxy::{Listeners, Pair},
    stage::{Stage, stop},
};

/// Longest that the kernel may take to close a socket of the loopback.
const CLOSE: Duration = Duration::from_secs(5);

pub(super) fn every_flow_of_many_is_resolved(stage: &Stage) -> Result<()> {
    let (capture, listeners, _) = host_network(stage)?;
    let mut request = Request::new(&stage.cgroup("workload"), &[FAR_V4, FAR_V6, far_mapped()]);
    request.repeat = 1000;
    let attempts = stage.client(&request, None)?;
    ensure!(attempts.len() == 3000, "{} attempts", attempts.len());
    for attempt in &attempts {
        expect_captured(attempt)?;
    }
    drop(listeners);
    stop(capture)
}

pub(super) fn many_clients_at_once_are_resolved(stage: &Stage) -> Result<()> {
    let (capture, listeners, _) = host_network(stage)?;
    let mut request = Request::new(&stage.cgroup("workload/child"), &[FAR_V4, FAR_V6]);
    request.repeat = 100;
    thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| stage.client(&request, None)))
            .collect();
        for client in clients {
            let attempts = client
                .join()
                .map_err(|_| anyhow::anyhow!("a client's thread panicked"))??;
            for attempt in &attempts {
                expect_captured(attempt)?;
            }
        }
        anyhow::Ok(())
    })?;
    ensure!(
        counter(&capture, "captured")? == 1600,
        "{:?}",
        capture.counters()?
    );
    ensure!(
        counter(&capture, "flow_failed")? == 0,
        "{:?}",
        capture.counters()?
    );
    drop(listeners);
    stop(capture)
}

pub(super) fn a_refused_connection_withdraws_its_flow(stage: &Stage) -> Result<()> {
    let port = Pair::loopback()?.port;
    let capture = Arc::new(Capture::start(&stage.settings(port))?);
    capture.enrol(&stage.host_workload()?)?;
    let request = Request::new(&stage.cgroup("workload"), &[FAR_V4, FAR_V6, far_mapped()]);
    for attempt in stage.client(&request, None)? {
        expect_errno(&attempt, libc::ECONNREFUSED)?;
    }
    ensure!(
        counter(&capture, "flow_published")? == 3,
        "{:?}",
        capture.counters()?
    );
    ensure!(
        counter(&capture, "flow_withdrawn")? == 3,
        "{:?}",
        capture.counters()?
    );
    stop(capture)
}

/// The same socket is refused by a dead proxy, then connects to the loopback: that must not be published as a flow to
/// the first destination, nor must getpeername show it.
pub(super) fn a_socket_used_again_is_not_taken_for_captured(stage: &Stage) -> Result<()> {
    let port = Pair::loopback()?.port;
    let capture = Arc::new(Capture::start(&stage.settings(port))?);
    capture.enrol(&stage.host_workload()?)?;
    let server = Pair::loopback()?;
    let near = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), server.port);
    let mut listeners = Listeners::default();
    listeners.plain(server);
    let mut request = Request::new(&stage.cgroup("workload"), &[FAR_V4, near]);
    request.one_socket = true;
    let attempts = stage.client(&request, None)?;
    let [far, again] = attempts.as_slice() else {
        anyhow::bail!("{attempts:?}")
    };
    expect_errno(far, libc::ECONNREFUSED)?;
    ensure!(again.reply == "direct" && again.peer == Some(near), "{again:?}");
    ensure!(
        counter(&capture, "flow_published")? == 1,
        "{:?}",
        capture.counters()?
    );
    drop(listeners);
    stop(capture)
}

pub(super) fn the_proxys_own_connections_are_known(stage: &Stage) -> Result<()> {
    let cookie = own_cookie()?;
    let capture = Arc::new(Capture::start(&stage.settings(15001))?);
    for pair_of in [0, 1] {
        let server = Pair::loopback()?;
        let target = server.sockets.get(pair_of).context("two sockets")?.local_addr()?;
        let mut listeners = Listeners::default();
        listeners.plain(server);
        let mut stream = TcpStream::connect_timeout(&target, CLOSE)?;
        let local = stream.local_addr()?;
        ensure!(
            capture.is_proxy_flow(cookie, local, target),
            "{local} -> {target} is not known"
        );
        ensure!(
            !capture.is_proxy_flow(cookie, target, local),
            "{target} -> {local} is known"
        );
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        ensure!(
            reply == "direct",
            "the proxy's own connection was captured: {reply}"
        );
        drop(stream);
        let deadline = Instant::now() + CLOSE;
        while capture.is_proxy_flow(cookie, local, target) {
            ensure!(
                Instant::now() < deadline,
                "{local} -> {target} is still known after its close"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
    ensure!(
        counter(&capture, "proxy_flow_published")? >= 2,
        "{:?}",
        capture.counters()?
    );
    stop(capture)
}

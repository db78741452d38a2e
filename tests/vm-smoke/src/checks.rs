//! The checks by name. Each gets a stage of its own and says what went wrong as an error.

mod connects;
mod excluded;
mod flows;
mod granted;
mod lifecycle;
mod takeover;
mod verified;

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use mesh_node::capture::Capture;

use crate::{
    client::Attempt,
    namespace::Namespace,
    proxy::{Listeners, Pair},
    stage::Stage,
};

/// One check.
pub type Check = fn(&Stage) -> Result<()>;

/// Every check, in an order that fails early on what the others need.
pub const ALL: &[(&str, Check)] = &[
    (
        "every_program_is_attached_and_pinned",
        lifecycle::every_program_is_attached_and_pinned,
    ),
    (
        "verifier_statistics_have_not_grown",
        verified::verifier_statistics_have_not_grown,
    ),
    (
        "host_network_connections_reach_the_proxy",
        connects::host_network_connections_reach_the_proxy,
    ),
    (
        "own_namespace_connections_reach_the_proxy",
        connects::own_namespace_connections_reach_the_proxy,
    ),
    (
        "the_deepest_enrolled_cgroup_counts",
        connects::the_deepest_enrolled_cgroup_counts,
    ),
    ("mesh_ports_are_refused", connects::mesh_ports_are_refused),
    (
        "a_foreign_namespace_is_refused",
        connects::a_foreign_namespace_is_refused,
    ),
    (
        "a_process_of_no_workload_is_refused",
        connects::a_process_of_no_workload_is_refused,
    ),
    (
        "an_unenrolled_process_is_untouched",
        connects::an_unenrolled_process_is_untouched,
    ),
    ("loopback_and_udp_pass", excluded::loopback_and_udp_pass),
    (
        "excluded_ports_and_networks_pass",
        excluded::excluded_ports_and_networks_pass,
    ),
    (
        "every_flow_of_many_is_resolved",
        flows::every_flow_of_many_is_resolved,
    ),
    (
        "many_clients_at_once_are_resolved",
        flows::many_clients_at_once_are_resolved,
    ),
    (
        "a_refused_connection_withdraws_its_flow",
        flows::a_refused_connection_withdraws_its_flow,
    ),
    (
        "a_socket_used_again_is_not_taken_for_captured",
        flows::a_socket_used_again_is_not_taken_for_captured,
    ),
    (
        "the_proxys_own_connections_are_known",
        flows::the_proxys_own_connections_are_known,
    ),
    (
        "granted_connections_go_straight_and_are_told_of",
        granted::granted_connections_go_straight_and_are_told_of,
    ),
    (
        "grants_that_do_not_hold_lead_to_the_proxy",
        granted::grants_that_do_not_hold_lead_to_the_proxy,
    ),
    (
        "a_grant_of_the_deepest_enrolled_cgroup_counts",
        granted::a_grant_of_the_deepest_enrolled_cgroup_counts,
    ),
    (
        "a_refused_granted_connection_is_told_of",
        granted::a_refused_granted_connection_is_told_of,
    ),
    ("release_leaves_nothing", lifecycle::release_leaves_nothing),
    (
        "a_removed_cgroup_is_forgotten",
        lifecycle::a_removed_cgroup_is_forgotten,
    ),
    (
        "the_root_cgroup_is_never_attached",
        lifecycle::the_root_cgroup_is_never_attached,
    ),
    (
        "the_kernel_log_loads_and_speaks",
        lifecycle::the_kernel_log_loads_and_speaks,
    ),
    (
        "a_killed_owner_leaves_nothing_in_clear",
        takeover::a_killed_owner_leaves_nothing_in_clear,
    ),
    (
        "programs_are_replaced_without_a_gap",
        takeover::programs_are_replaced_without_a_gap,
    ),
    (
        "what_is_no_longer_configured_is_released",
        takeover::what_is_no_longer_configured_is_released,
    ),
    ("a_second_owner_is_refused", takeover::a_second_owner_is_refused),
    (
        "an_incompatible_pinned_map_is_refused",
        takeover::an_incompatible_pinned_map_is_refused,
    ),
];

/// Runs a check by its name on a new stage, in a network namespace of its own: whatever goes wrong, nothing leaves it.
pub fn run(name: &str, program: &Path) -> Result<()> {
    let (_, check) = ALL
        .iter()
        .find(|(known, _)| *known == name)
        .with_context(|| format!("no check {name}"))?;
    Namespace::new()?
        .enter(|| check(&Stage::new(program)?))
        .with_context(|| format!("check {name}"))
}

/// Capture with a proxy on the loopback and the stage's workload enrolled on the host's network.
fn host_network(stage: &Stage) -> Result<(Arc<Capture>, Listeners, u16)> {
    let pair = Pair::loopback()?;
    let port = pair.port;
    let capture = Arc::new(Capture::start(&stage.settings(port))?);
    let workload = stage.host_workload()?;
    capture.enrol(&workload)?;
    let mut listeners = Listeners::default();
    listeners.proxy(pair, &capture, workload.netns_cookie);
    Ok((capture, listeners, port))
}

/// The value of one of the kernel's counters.
fn counter(capture: &Capture, name: &str) -> Result<u64> {
    let counters = capture.counters()?;
    counters
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, n)| *n)
        .with_context(|| format!("no counter {name}"))
}

/// A connect that must have been captured for slot 7.
fn expect_captured(attempt: &Attempt) -> Result<()> {
    let canonical = std::net::SocketAddr::new(attempt.target.ip().to_canonical(), attempt.target.port());
    ensure!(
        attempt.reply == format!("captured {canonical} 7"),
        "not captured: {attempt:?}"
    );
    ensure!(
        attempt.peer == Some(attempt.target),
        "getpeername shows something else: {attempt:?}"
    );
    Ok(())
}

/// A connect that must have failed with this error number.
fn expect_errno(attempt: &Attempt, errno: i32) -> Result<()> {
    ensure!(
        attempt.errno == Some(errno),
        "expected error {errno}: {attempt:?}"
    );
    Ok(())
}

//! The checks of the kernel side as tests on the running kernel. They need root and take turns: a cgroup belongs to
//! the whole process.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use anyhow::Result;
use mesh_vm_smoke::checks;

static TURN: Mutex<()> = Mutex::new(());

fn check(name: &str) -> Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    checks::run(name, Path::new(env!("CARGO_BIN_EXE_mesh-vm-smoke")))
}

macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        $(
            #[test]
            fn $name() -> Result<()> {
                check(stringify!($name))
            }
        )+

        #[test]
        fn every_check_is_a_test() {
            let tests = [$(stringify!($name)),+];
            for (name, _) in checks::ALL {
                assert!(tests.contains(name), "{name} is no test");
            }
        }
    };
}

tests!(
    every_program_is_attached_and_pinned,
    verifier_statistics_have_not_grown,
    host_network_connections_reach_the_proxy,
    own_namespace_connections_reach_the_proxy,
    the_deepest_enrolled_cgroup_counts,
    mesh_ports_are_refused,
    a_foreign_namespace_is_refused,
    a_process_of_no_workload_is_refused,
    an_unenrolled_process_is_untouched,
    loopback_and_udp_pass,
    excluded_ports_and_networks_pass,
    every_flow_of_many_is_resolved,
    many_clients_at_once_are_resolved,
    a_refused_connection_withdraws_its_flow,
    a_socket_used_again_is_not_taken_for_captured,
    the_proxys_own_connections_are_known,
    granted_connections_go_straight_and_are_told_of,
    grants_that_do_not_hold_lead_to_the_proxy,
    a_grant_of_the_deepest_enrolled_cgroup_counts,
    a_refused_granted_connection_is_told_of,
    release_leaves_nothing,
    a_removed_cgroup_is_forgotten,
    the_root_cgroup_is_never_attached,
    the_kernel_log_loads_and_speaks,
    a_killed_owner_leaves_nothing_in_clear,
    programs_are_replaced_without_a_gap,
    what_is_no_longer_configured_is_released,
    a_second_owner_is_refused,
    an_incompatible_pinned_map_is_refused,
);

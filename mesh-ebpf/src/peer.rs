//! `cgroup/getpeername4` and `cgroup/getpeername6`: a captured socket shows the destination that its program asked for.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use mesh_abi::Original;

use crate::maps::ORIGINALS;

/// The only value that a getpeername hook may return.
const PASS: i32 = 1;

#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4_restore(ctx: SockAddrContext) -> i32 {
    if let Some(original) = original(&ctx) {
        // SAFETY: the kernel's context is valid while the program runs; volatile, so that the stores stay apart.
        unsafe {
            core::ptr::write_volatile(&raw mut (*ctx.sock_addr).user_ip4, original.destination.v4_word());
            core::ptr::write_volatile(&raw mut (*ctx.sock_addr).user_port, original.port.to_user_port());
        }
    }
    PASS
}

#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6_restore(ctx: SockAddrContext) -> i32 {
    if let Some(original) = original(&ctx) {
        let words = original.destination.v6_words();
        // SAFETY: as above.
        unsafe {
            core::ptr::write_volatile(&raw mut (*ctx.sock_addr).user_ip6[0], words[0]);
            core::ptr::write_volatile(&raw mut (*ctx.sock_addr).user_ip6[1], words[1]);
            core::ptr::write_volatile(&raw mut (*ctx.sock_addr).user_ip6[2], words[2]);
            core::ptr::write_volatile(&raw mut (*ctx.sock_addr).user_ip6[3], words[3]);
            core::ptr::write_volatile(&raw mut (*ctx.sock_addr).user_port, original.port.to_user_port());
        }
    }
    PASS
}

#[inline(always)]
fn original(ctx: &SockAddrContext) -> Option<Original> {
    // SAFETY: the map is ours; the storage lives as long as the socket.
    unsafe { ORIGINALS.get_ptr_mut(ctx).as_ref().copied() }
}

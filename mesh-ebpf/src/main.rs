//! The kernel programs: they bring the connections of enrolled workloads to the proxy and remember where these
//! wanted to go. Attached to a workload's cgroup (and one to the proxy's), so nothing else on the node runs them.
//!
//! Invariant: a connection is passed on purpose, captured or refused; no failure passes it. Each outcome is counted.
//! Refuses: parsing of payload, policy, anything that needs more than one connect's view.
#![no_std]
#![no_main]
#![expect(
    unsafe_code,
    reason = "contexts, helpers and maps are the kernel's, reached through raw pointers"
)]
// The programs are found by symbol, not by path.
#![expect(unreachable_pub, reason = "the attribute macros export what they expand")]

mod connect;
mod direct;
mod maps;
mod peer;
mod sockops;

/// The helpers used here are for programs under a licence compatible with the GPL.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// The verifier proves that no program gets here; the compiler wants it all the same.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

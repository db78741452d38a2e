//! `cgroup/connect4` and `cgroup/connect6`: decide about a connect and rewrite it to the proxy.
//!
//! The order of the checks is the contract: not TCP passes, the mesh's ports are refused whatever the address, then
//! loopback, excluded ports and networks pass, then the workload must be known and the namespace its own. What the node
//! has granted goes straight to an endpoint ([`crate::direct`]), all else to the proxy. A connect that the hook of an
//! enrolled cgroup below has rewritten a moment ago passes as it is.
//! Caller: the kernel, before routing, with the socket's owner as the current task.

use aya_ebpf::{
    EbpfContext as _,
    bindings::bpf_sock_addr,
    helpers::generated::{bpf_get_current_ancestor_cgroup_id, bpf_get_netns_cookie},
    macros::cgroup_sock_addr,
    maps::lpm_trie::Key,
    programs::SockAddrContext,
};
use aya_log_ebpf::{debug, warn};
use mesh_abi::{Address, Counter, GrantEndpoint, MAX_CGROUP_DEPTH, NetPort, Original, WorkloadEntry};

use crate::direct::{self, Client};
use crate::maps::{EXCLUDED_NETS, EXCLUDED_PORTS, ORIGINALS, SETTINGS, WORKLOADS, count};

/// `IPPROTO_TCP`.
const TCP: u32 = 6;
/// Return value of a connect hook: go on.
const PASS: i32 = 1;
/// Return value of a connect hook: connect() fails with EPERM.
const DENY: i32 = 0;

/// What becomes of a connect.
enum Verdict {
    /// Rewritten already by the hook of a deeper cgroup.
    Done,
    Pass(Counter),
    Deny(Counter),
    Capture(&'static WorkloadEntry, NetPort),
    /// Straight to an endpoint.
    Direct(&'static WorkloadEntry, GrantEndpoint),
}

#[cgroup_sock_addr(connect4)]
pub fn connect4_redirect(ctx: SockAddrContext) -> i32 {
    let destination = Address::from_v4_word(read(&ctx, |sa| unsafe { &raw const (*sa).user_ip4 }));
    let (target, port) = match redirect(&ctx, destination) {
        Ok(redirected) => redirected,
        Err(code) => return code,
    };
    write(&ctx, |sa| unsafe { &raw mut (*sa).user_ip4 }, target.v4_word());
    write(
        &ctx,
        |sa| unsafe { &raw mut (*sa).user_port },
        port.to_user_port(),
    );
    PASS
}

#[cgroup_sock_addr(connect6)]
pub fn connect6_redirect(ctx: SockAddrContext) -> i32 {
    let words = [
        read(&ctx, |sa| unsafe { &raw const (*sa).user_ip6[0] }),
        read(&ctx, |sa| unsafe { &raw const (*sa).user_ip6[1] }),
        read(&ctx, |sa| unsafe { &raw const (*sa).user_ip6[2] }),
        read(&ctx, |sa| unsafe { &raw const (*sa).user_ip6[3] }),
    ];
    let destination = Address::from_v6_words(words);
    let (target, port) = match redirect(&ctx, destination) {
        Ok(redirected) => redirected,
        Err(code) => return code,
    };
    let words = target.v6_words();
    write(&ctx, |sa| unsafe { &raw mut (*sa).user_ip6[0] }, words[0]);
    write(&ctx, |sa| unsafe { &raw mut (*sa).user_ip6[1] }, words[1]);
    write(&ctx, |sa| unsafe { &raw mut (*sa).user_ip6[2] }, words[2]);
    write(&ctx, |sa| unsafe { &raw mut (*sa).user_ip6[3] }, words[3]);
    write(
        &ctx,
        |sa| unsafe { &raw mut (*sa).user_port },
        port.to_user_port(),
    );
    PASS
}

/// Reads a context field as the verifier wants it: one word, never merged with its neighbours.
#[inline(always)]
fn read(ctx: &SockAddrContext, field: impl Fn(*mut bpf_sock_addr) -> *const u32) -> u32 {
    // SAFETY: the kernel's context is valid while the program runs.
    unsafe { core::ptr::read_volatile(field(ctx.sock_addr)) }
}

/// Writes a context field as the verifier wants it: LLVM would merge adjacent stores, which is refused.
#[inline(always)]
fn write(ctx: &SockAddrContext, field: impl Fn(*mut bpf_sock_addr) -> *mut u32, value: u32) {
    // SAFETY: as for `read`; the fields written are writable in connect hooks.
    unsafe { core::ptr::write_volatile(field(ctx.sock_addr), value) }
}

/// Decides, remembers the original destination and counts. Gives where the connect goes, in the family that it asked for;
/// `Err` holds the hook's return value.
#[inline(always)]
fn redirect(ctx: &SockAddrContext, destination: Address) -> Result<(Address, NetPort), i32> {
    if read(ctx, |sa| unsafe { &raw const (*sa).protocol }) != TCP {
        count(Counter::PassedProtocol);
        return Err(PASS);
    }
    let port = NetPort::from_user_port(read(ctx, |sa| unsafe { &raw const (*sa).user_port }));
    let verdict = decide(ctx, destination, port);
    let (workload, target, direct) = match verdict {
        // ::ffff:a.b.c.d leaves as IPv4, so it must reach the listener by IPv4 too.
        Verdict::Capture(workload, outbound) if destination.is_v4_mapped() => {
            (workload, (workload.v4, outbound), 0)
        }
        Verdict::Capture(workload, outbound) => (workload, (workload.v6, outbound), 0),
        Verdict::Direct(workload, endpoint) => (workload, (endpoint.address, endpoint.port), 1),
        Verdict::Done => return Err(PASS),
        Verdict::Pass(counter) => {
            forget(ctx);
            count(counter);
            return Err(PASS);
        }
        Verdict::Deny(counter) => {
            forget(ctx);
            count(counter);
            warn!(
                ctx,
                "refused {:i}:{} reason {}",
                destination.octets(),
                port.to_host(),
                counter as u32
            );
            return Err(DENY);
        }
    };
    let mut original = Original {
        netns_cookie: workload.netns_cookie,
        destination,
        port,
        pending: 1,
        slot: workload.slot,
        generation: workload.generation,
        direct,
    };
    // SAFETY: the map is ours and the socket is the context's.
    let stored = unsafe { ORIGINALS.get_or_insert_ptr_mut(ctx, Some(&mut original)) };
    if stored.is_null() {
        if direct != 0 {
            direct::give_back(ctx);
        }
        count(Counter::DeniedStorage);
        return Err(DENY);
    }
    // SAFETY: not null. A socket that connects again had an older value: the helper does not overwrite it.
    unsafe { *stored = original };
    count(if direct == 0 {
        Counter::Captured
    } else {
        Counter::Direct
    });
    debug!(
        ctx,
        "captured {:i}:{} of slot {} direct {}",
        destination.octets(),
        port.to_host(),
        original.slot,
        direct
    );
    Ok(target)
}

#[inline(always)]
fn decide(ctx: &SockAddrContext, destination: Address, port: NetPort) -> Verdict {
    let Some(settings) = SETTINGS.get(0) else {
        return Verdict::Deny(Counter::DeniedUnset);
    };
    if !settings.is_set() {
        return Verdict::Deny(Counter::DeniedUnset);
    }
    match pending(ctx) {
        Some(original) if original.direct != 0 => {
            if direct::is_granted(ctx, destination, port) {
                return Verdict::Done;
            }
        }
        Some(_) if port == settings.outbound => return Verdict::Done,
        _ => {}
    }
    if settings.is_mesh_port(port) {
        return Verdict::Deny(Counter::DeniedMeshPort);
    }
    if destination.is_loopback() || destination.is_unspecified() {
        return Verdict::Pass(Counter::PassedLoopback);
    }
    // SAFETY: only the presence of the entry counts.
    if unsafe { EXCLUDED_PORTS.get(port) }.is_some() {
        return Verdict::Pass(Counter::PassedPort);
    }
    if EXCLUDED_NETS.get(Key::new(128, destination)).is_some() {
        return Verdict::Pass(Counter::PassedNetwork);
    }
    let Some(client) = workload() else {
        return Verdict::Deny(Counter::DeniedUnknown);
    };
    // SAFETY: the helper takes the context.
    if unsafe { bpf_get_netns_cookie(ctx.as_ptr()) } != client.entry.netns_cookie {
        return Verdict::Deny(Counter::DeniedNamespace);
    }
    match direct::grant(ctx, settings, client, destination, port) {
        Some(endpoint) => Verdict::Direct(client.entry, endpoint),
        None => Verdict::Capture(client.entry, settings.outbound),
    }
}

/// The deepest enrolled cgroup of the current task: containers sit in children of the enrolled one.
#[inline(always)]
fn workload() -> Option<Client> {
    let mut found = None;
    let mut level = 1;
    while level <= MAX_CGROUP_DEPTH {
        // SAFETY: no pointer is involved.
        let id = unsafe { bpf_get_current_ancestor_cgroup_id(level) };
        if id == 0 {
            break;
        }
        // SAFETY: the node replaces an entry as a whole; a reader sees the old or the new one, and an entry of the
        // preallocated map is not freed while a program runs.
        if let Some(entry) = unsafe { WORKLOADS.get(id) } {
            found = Some(Client { cgroup: id, entry });
        }
        level += 1;
    }
    found
}

/// What another instance of the hook has noted of this very connect. A socket whose connect failed before its flow was
/// published looks the same: should it connect to where it was sent, it gets where it wanted to go at first.
#[inline(always)]
fn pending(ctx: &SockAddrContext) -> Option<&Original> {
    // SAFETY: the map is ours; the storage lives as long as the socket.
    unsafe { ORIGINALS.get_ptr_mut(ctx).as_ref() }.filter(|original| original.pending != 0)
}

/// A socket that was captured before and now goes elsewhere must not be published again.
#[inline(always)]
fn forget(ctx: &SockAddrContext) {
    // SAFETY: the map is ours and the socket is the context's. That there was nothing to delete is no error.
    let _: Result<(), i32> = unsafe { ORIGINALS.delete((*ctx.sock_addr).__bindgen_anon_1.sk) };
}

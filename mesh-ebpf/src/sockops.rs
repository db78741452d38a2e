//! `sock_ops`: publish a captured connection before its SYN leaves, and note the proxy's own connections.
//!
//! A flow is withdrawn when its connection ends before the proxy could accept it (refused, reset): otherwise another
//! process that gets the same source port would be taken for the workload. Not after an orderly close, which may
//! precede the proxy's accept: then the proxy takes the entry as usual. Connections past the proxy are followed by
//! [`crate::direct`].

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_TCP_CLOSE,
        BPF_TCP_CLOSE_WAIT, BPF_TCP_ESTABLISHED, BPF_TCP_SYN_RECV, BPF_TCP_SYN_SENT, bpf_sock_ops,
    },
    helpers::generated::{bpf_get_netns_cookie, bpf_sk_storage_get},
    macros::sock_ops,
    programs::SockOpsContext,
};
use aya_log_ebpf::{trace, warn};
use mesh_abi::{Address, Counter, FlowKey, NetPort, Original, ProxyFlowKey};

use crate::direct;
use crate::maps::{FLOWS, ORIGINALS, PROXY_FLOWS, count};

/// `AF_INET`.
const INET: u32 = 2;
/// `AF_INET6`.
const INET6: u32 = 10;
/// What a sock_ops program returns when it answers nothing.
const DONE: u32 = 0;

#[sock_ops]
pub fn sockops_workload(ctx: SockOpsContext) -> u32 {
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => publish(&ctx),
        BPF_SOCK_OPS_STATE_CB => changed(&ctx),
        _ => {}
    }
    DONE
}

#[sock_ops]
pub fn sockops_proxy(ctx: SockOpsContext) -> u32 {
    let op = ctx.op();
    if op != BPF_SOCK_OPS_TCP_CONNECT_CB && op != BPF_SOCK_OPS_STATE_CB {
        return DONE;
    }
    if op == BPF_SOCK_OPS_STATE_CB && ctx.arg(1) != BPF_TCP_CLOSE {
        return DONE;
    }
    let (Some(source), Some(destination)) = (local(&ctx), remote(&ctx)) else {
        return DONE;
    };
    let key = ProxyFlowKey {
        // SAFETY: the helper takes the context.
        netns_cookie: unsafe { bpf_get_netns_cookie(ctx.ops.cast()) },
        source,
        destination,
        source_port: NetPort::from_ops_local(ctx.local_port()),
        destination_port: NetPort::from_ops_remote(ctx.remote_port()),
        pad: 0,
    };
    if op == BPF_SOCK_OPS_STATE_CB {
        // Evicted already, perhaps: nothing to do then.
        let _: Result<(), i32> = PROXY_FLOWS.remove(key);
        return DONE;
    }
    if PROXY_FLOWS.insert(key, 1, 0).is_err() || watch(&ctx).is_err() {
        count(Counter::ProxyFlowFailed);
        return DONE;
    }
    count(Counter::ProxyFlowPublished);
    DONE
}

#[inline(always)]
fn publish(ctx: &SockOpsContext) {
    let Some(stored) = original(ctx) else { return };
    // SAFETY: the storage lives as long as the socket, whose lock the kernel holds here.
    let original = unsafe { *stored };
    if original.pending == 0 {
        // Done by the instance of a deeper cgroup.
        return;
    }
    // SAFETY: as above.
    unsafe { (*stored).pending = 0 };
    let Some(source) = local(ctx) else { return };
    let port = NetPort::from_ops_local(ctx.local_port());
    if original.direct != 0 {
        direct::connecting(ctx, source, port, watch(ctx).is_ok());
        return;
    }
    let key = FlowKey::new(original.netns_cookie, source, port);
    if FLOWS.insert(key, original.flow(), 0).is_err() {
        count(Counter::FlowFailed);
        warn!(ctx, "flow of source port {} not published", port.to_host());
        return;
    }
    if watch(ctx).is_err() {
        // Without the callback the entry could outlive the connection: better refuse this one.
        let _: Result<(), i32> = FLOWS.remove(key);
        count(Counter::FlowFailed);
        return;
    }
    count(Counter::FlowPublished);
    trace!(
        ctx,
        "published source port {} of slot {}",
        port.to_host(),
        original.slot
    );
}

#[inline(always)]
fn changed(ctx: &SockOpsContext) {
    let Some(stored) = original(ctx) else { return };
    // SAFETY: the storage lives as long as the socket.
    let (is_direct, netns_cookie) = unsafe { ((*stored).direct != 0, (*stored).netns_cookie) };
    if is_direct {
        direct::changed(ctx);
    } else {
        withdraw(ctx, netns_cookie);
    }
}

#[inline(always)]
fn withdraw(ctx: &SockOpsContext, netns_cookie: u64) {
    if ctx.arg(1) != BPF_TCP_CLOSE {
        return;
    }
    match ctx.arg(0) {
        BPF_TCP_SYN_SENT | BPF_TCP_SYN_RECV | BPF_TCP_ESTABLISHED | BPF_TCP_CLOSE_WAIT => {}
        _ => return,
    }
    let Some(source) = local(ctx) else { return };
    let key = FlowKey::new(netns_cookie, source, NetPort::from_ops_local(ctx.local_port()));
    // Usually the proxy has taken it.
    if FLOWS.remove(key).is_ok() {
        count(Counter::FlowWithdrawn);
    }
}

/// Asks for the callbacks on the socket's state changes, beside those that others asked for.
#[inline(always)]
#[expect(clippy::cast_possible_wrap, reason = "the flags are a small mask")]
fn watch(ctx: &SockOpsContext) -> Result<(), i32> {
    ctx.set_cb_flags((ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG) as i32)
}

#[inline(always)]
fn original(ctx: &SockOpsContext) -> Option<*mut Original> {
    // SAFETY: the context is valid while the program runs.
    let sk = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    if sk.is_null() {
        return None;
    }
    // SAFETY: the map is an SK_STORAGE of `Original`, the socket is not null.
    let stored = unsafe {
        bpf_sk_storage_get(
            (&raw const ORIGINALS).cast_mut().cast(),
            sk.cast(),
            core::ptr::null_mut(),
            0,
        )
    };
    (!stored.is_null()).then(|| stored.cast())
}

#[inline(always)]
fn local(ctx: &SockOpsContext) -> Option<Address> {
    match ctx.family() {
        INET => Some(Address::from_v4_word(ctx.local_ip4())),
        INET6 => Some(Address::from_v6_words([
            word(ctx, |ops| unsafe { &raw const (*ops).local_ip6[0] }),
            word(ctx, |ops| unsafe { &raw const (*ops).local_ip6[1] }),
            word(ctx, |ops| unsafe { &raw const (*ops).local_ip6[2] }),
            word(ctx, |ops| unsafe { &raw const (*ops).local_ip6[3] }),
        ])),
        _ => None,
    }
}

#[inline(always)]
fn remote(ctx: &SockOpsContext) -> Option<Address> {
    match ctx.family() {
        INET => Some(Address::from_v4_word(ctx.remote_ip4())),
        INET6 => Some(Address::from_v6_words([
            word(ctx, |ops| unsafe { &raw const (*ops).remote_ip6[0] }),
            word(ctx, |ops| unsafe { &raw const (*ops).remote_ip6[1] }),
            word(ctx, |ops| unsafe { &raw const (*ops).remote_ip6[2] }),
            word(ctx, |ops| unsafe { &raw const (*ops).remote_ip6[3] }),
        ])),
        _ => None,
    }
}

/// Reads one word of the context: the verifier refuses the wider loads that LLVM would make of two.
#[inline(always)]
fn word(ctx: &SockOpsContext, field: impl Fn(*mut bpf_sock_ops) -> *const u32) -> u32 {
    // SAFETY: the kernel's context is valid while the program runs.
    unsafe { core::ptr::read_volatile(field(ctx.ops)) }
}

//! Connections past the proxy: the connect hook sends those straight to an endpoint that the node has granted, `sock_ops`
//! follows each until its end.
//!
//! Invariant: what goes past the proxy is in the table of such connections before its SYN leaves, so that the node can end
//! it. Where that or anything else is not possible, the connection goes to the proxy like any other.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_TCP_CLOSE, BPF_TCP_CLOSE_WAIT, BPF_TCP_CLOSING, BPF_TCP_ESTABLISHED, BPF_TCP_FIN_WAIT1,
        BPF_TCP_FIN_WAIT2, BPF_TCP_LAST_ACK, BPF_TCP_SYN_RECV, BPF_TCP_SYN_SENT, bpf_sock_ops,
    },
    helpers::generated::{bpf_get_prandom_u32, bpf_get_socket_cookie, bpf_ktime_get_ns, bpf_ringbuf_output},
    programs::{SockAddrContext, SockOpsContext},
};
use mesh_abi::{
    Address, Counter, DirectFlow, Grant, GrantEndpoint, GrantKey, MAX_ENDPOINTS, NetPort, PICKS, Settings,
    WorkloadEntry,
};

use crate::maps::{DIRECT, DIRECT_EVENTS, GRANTS, count};

/// `BPF_RB_NO_WAKEUP`: the node looks at a steady pace.
const NO_WAKEUP: u64 = 1;

/// A workload as the connect hook found it.
#[derive(Clone, Copy)]
pub struct Client {
    pub cgroup: u64,
    pub entry: &'static WorkloadEntry,
}

/// An endpoint for a connection, which is then in the table. `None`: it goes to the proxy.
#[inline(always)]
pub fn grant(
    ctx: &SockAddrContext,
    settings: &Settings,
    client: Client,
    destination: Address,
    port: NetPort,
) -> Option<GrantEndpoint> {
    // SAFETY: the helper takes nothing.
    let now = unsafe { bpf_ktime_get_ns() };
    if now >= settings.direct_until {
        return None;
    }
    if is_bound_to_device(ctx) {
        return None;
    }
    let key = GrantKey::new(client.cgroup, destination, port);
    // SAFETY: the memory may become another key's at any moment, which `is_for` rules out after the endpoint is read.
    let grant = unsafe { GRANTS.get(key) }?;
    let endpoint = draw(grant)?;
    if !is_for(grant, &key, client.entry)
        || settings.is_mesh_port(endpoint.port)
        || endpoint.address.is_v4_mapped() != destination.is_v4_mapped()
    {
        return None;
    }
    // SAFETY: the helper takes the context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    // SAFETY: one field of an entry that only this socket's hooks write.
    if unsafe { DIRECT.get(cookie) }.is_some_and(|former| former.state != DirectFlow::RESERVED) {
        // What it was before has not been told yet.
        return None;
    }
    let flow = DirectFlow {
        cookie,
        netns_cookie: client.entry.netns_cookie,
        cgroup: client.cgroup,
        opened: now,
        destination,
        endpoint: endpoint.address,
        slot: client.entry.slot,
        endpoint_slot: endpoint.slot,
        generation: client.entry.generation,
        destination_port: port,
        endpoint_port: endpoint.port,
        ..DirectFlow::default()
    };
    if DIRECT.insert(cookie, flow, 0).is_err() {
        count(Counter::DirectFull);
        return None;
    }
    Some(endpoint)
}

/// Takes back what [`grant`] has noted.
#[inline(always)]
pub fn give_back(ctx: &SockAddrContext) {
    // SAFETY: the helper takes the context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    let _: Result<(), i32> = DIRECT.remove(cookie);
}

/// Whether this connect was sent to this endpoint by another instance of the hook.
#[inline(always)]
pub fn is_granted(ctx: &SockAddrContext, endpoint: Address, port: NetPort) -> bool {
    // SAFETY: the helper takes the context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    // SAFETY: an entry that only this socket's hooks write.
    unsafe { DIRECT.get(cookie) }.is_some_and(|flow| {
        flow.state == DirectFlow::RESERVED && flow.endpoint == endpoint && flow.endpoint_port == port
    })
}

/// Whether the socket may use one device only (SO_BINDTODEVICE): the way there was tried without, and such a socket is not
/// found by its addresses when it is to be ended.
#[inline(always)]
fn is_bound_to_device(ctx: &SockAddrContext) -> bool {
    // SAFETY: the kernel's context is valid while the program runs, and so is its socket.
    unsafe {
        let sk = (*ctx.sock_addr).__bindgen_anon_1.sk;
        !sk.is_null() && core::ptr::read_volatile(&raw const (*sk).bound_dev_if) != 0
    }
}

/// One of the endpoints at random, by their places.
#[inline(always)]
fn draw(grant: &Grant) -> Option<GrantEndpoint> {
    // SAFETY: the helper takes nothing.
    let random = unsafe { bpf_get_prandom_u32() };
    // A product and a shift, not a remainder: older verifiers know the range of the former only.
    let place = ((random & 0xffff) * PICKS as u32) >> 16;
    // SAFETY: below PICKS, as the product of less than 2^16 and PICKS shifted by 16.
    let pick = unsafe { *grant.picks.as_ptr().add(place as usize) };
    let pick = pick as usize & (MAX_ENDPOINTS - 1);
    // SAFETY: below MAX_ENDPOINTS, a power of two.
    let endpoint = unsafe { *grant.endpoints.as_ptr().add(pick) };
    (endpoint.port != NetPort::default()).then_some(endpoint)
}

/// Whether the grant is still this key's, and was written under this enrolment.
#[inline(always)]
fn is_for(grant: &Grant, key: &GrantKey, client: &WorkloadEntry) -> bool {
    grant.slot == client.slot
        && grant.generation == client.generation
        && grant.port == key.port
        && grant.destination == key.destination
}

/// The socket's port is known, its SYN is next.
#[inline(always)]
pub fn connecting(ctx: &SockOpsContext, source: Address, port: NetPort, is_watched: bool) {
    let Some(flow) = flow(ctx) else { return };
    // SAFETY: the entry of this socket, whose lock the kernel holds here.
    unsafe {
        (*flow).source = source;
        (*flow).source_port = port;
        (*flow).state = if is_watched {
            DirectFlow::CONNECTING
        } else {
            DirectFlow::LOST
        };
    }
}

/// The socket's state changes.
#[inline(always)]
pub fn changed(ctx: &SockOpsContext) {
    let Some(flow) = flow(ctx) else { return };
    // SAFETY: as above; every access below is to this entry.
    let flow = unsafe { &mut *flow };
    match ctx.arg(1) {
        // The rest is of the instance of a deeper cgroup, which was first.
        BPF_TCP_ESTABLISHED if flow.state == DirectFlow::OPEN => {}
        _ if flow.state >= DirectFlow::CLOSED => {}
        BPF_TCP_ESTABLISHED => {
            flow.state = DirectFlow::OPEN;
            // Without room it is told by its end, or found in the table.
            let _is_told: bool = tell(flow);
        }
        BPF_TCP_CLOSE_WAIT | BPF_TCP_CLOSING => flow.flags |= DirectFlow::PEER_ENDED,
        // What comes from now on ends with the server's end.
        BPF_TCP_FIN_WAIT2 => flow.received = received(ctx),
        BPF_TCP_CLOSE => {
            finish(ctx, flow, ctx.arg(0));
            if tell(flow) {
                let _: Result<(), i32> = DIRECT.remove(flow.cookie);
            } else {
                count(Counter::DirectUntold);
            }
        }
        _ => {}
    }
}

/// Notes how a connection ended. The kernel's counts have one byte more for SYN and for each FIN.
#[inline(always)]
fn finish(ctx: &SockOpsContext, flow: &mut DirectFlow, former: u32) {
    let (mut sent, mut received) = (acknowledged(ctx).saturating_sub(1), received(ctx));
    if let BPF_TCP_FIN_WAIT2 | BPF_TCP_CLOSING | BPF_TCP_LAST_ACK = former {
        sent = sent.saturating_sub(1);
    }
    let has_peer_ended =
        flow.flags & DirectFlow::PEER_ENDED != 0 || former == BPF_TCP_FIN_WAIT2 && received != flow.received;
    if has_peer_ended {
        received = received.saturating_sub(1);
    }
    flow.state = DirectFlow::CLOSED;
    match former {
        BPF_TCP_SYN_SENT => {
            flow.state = DirectFlow::FAILED;
            sent = 0;
        }
        BPF_TCP_SYN_RECV | BPF_TCP_ESTABLISHED | BPF_TCP_CLOSE_WAIT | BPF_TCP_FIN_WAIT1 => {
            flow.flags |= DirectFlow::BROKEN;
        }
        _ => {}
    }
    flow.sent = sent;
    flow.received = received;
    // SAFETY: the helper takes nothing.
    flow.closed = unsafe { bpf_ktime_get_ns() };
}

/// Puts the entry into the ring; whether there was room.
#[inline(always)]
fn tell(flow: &DirectFlow) -> bool {
    // SAFETY: the map is a ring, the entry lies in a map and is as large as said.
    let result = unsafe {
        bpf_ringbuf_output(
            (&raw const DIRECT_EVENTS).cast_mut().cast(),
            core::ptr::from_ref(flow).cast_mut().cast(),
            size_of::<DirectFlow>() as u64,
            NO_WAKEUP,
        )
    };
    result == 0
}

/// The entry of the context's socket.
#[inline(always)]
fn flow(ctx: &SockOpsContext) -> Option<*mut DirectFlow> {
    // SAFETY: the helper takes the context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.ops.cast()) };
    DIRECT.get_ptr_mut(cookie)
}

/// Bytes that the server has acknowledged, SYN and FIN included.
#[inline(always)]
fn acknowledged(ctx: &SockOpsContext) -> u64 {
    long(ctx, |ops| unsafe { &raw const (*ops).bytes_acked })
}

/// Bytes that have come from the server, FIN included.
#[inline(always)]
fn received(ctx: &SockOpsContext) -> u64 {
    long(ctx, |ops| unsafe { &raw const (*ops).bytes_received })
}

#[inline(always)]
fn long(ctx: &SockOpsContext, field: impl Fn(*mut bpf_sock_ops) -> *const u64) -> u64 {
    // SAFETY: the kernel's context is valid while the program runs.
    unsafe { core::ptr::read_volatile(field(ctx.ops)) }
}

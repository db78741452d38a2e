//! How much memory a connection's task takes for as long as it lives: a budget, so that it does not grow unnoticed.
//! A future is as large as the largest of its states; one that grows wants a part of it boxed.

use super::{inbound, outbound};

/// Bytes of one outbound connection's future, while it carries bytes. Requests have theirs on the heap.
const OUTBOUND: usize = 3 * 1024 + 640;
/// Bytes of one tunnel's future at the server.
const TUNNEL: usize = 14 * 1024;

fn size<A, B, C, D, F>(_: fn(A, B, C, D) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn connections_stay_within_their_memory() {
    let sizes = (size(outbound::serve), size(inbound::serve));
    assert!(sizes.0 <= OUTBOUND && sizes.1 <= TUNNEL, "{sizes:?}");
}

//! Connections past the proxy: which go there, what is told of them, what ends them, and what happens when the node itself
//! comes and goes.

#![expect(clippy::unwrap_used, reason = "in a test, a failure's place is what matters")]

mod direct {
    mod endings;
    mod grants;
    mod restarts;
    mod speed;
    mod storm;
    mod traffic;
    mod yard;
}

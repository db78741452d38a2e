//! What the end-to-end suites share: everyday servers as workloads, rogue peers, and a mesh that a suite's tests take
//! turns with.

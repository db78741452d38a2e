//! Verifier statistics.

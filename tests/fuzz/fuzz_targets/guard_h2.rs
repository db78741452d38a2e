//! [`mesh_fuzz::guard_h2`] for the fuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mesh_fuzz::guard_h2::check(bytes));

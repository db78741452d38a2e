//! [`mesh_fuzz::guard_h1`] for the fuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mesh_fuzz::guard_h1::check(bytes));

//! [`mesh_fuzz::path`] for the fuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mesh_fuzz::path::check(bytes));

//! [`mesh_fuzz::route`] for the fuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mesh_fuzz::route::check(bytes));

//! [`mesh_fuzz::headers`] for the fuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mesh_fuzz::headers::check(bytes));

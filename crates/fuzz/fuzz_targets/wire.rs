//! Any bytes as an answer to a sync are read or refused.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| envoy_share::fuzz::wire(bytes));

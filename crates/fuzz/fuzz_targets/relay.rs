//! Any bytes become events of a relay, which is held against its model.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| envoy_share::fuzz::relay(bytes));

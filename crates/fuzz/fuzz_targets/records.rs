//! Any bytes as values of shared data are read or refused.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| envoy_share::fuzz::records(bytes));

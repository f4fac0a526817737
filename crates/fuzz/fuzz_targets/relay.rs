#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| envoy_share::fuzz::relay(bytes));

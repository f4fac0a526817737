//! Any bytes as plugin configuration are taken or refused in one line.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hold::fuzz::configuration(bytes));

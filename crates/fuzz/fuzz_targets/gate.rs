//! Any bytes become events of a gate, which is held against its model.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hold::fuzz::gate(bytes));

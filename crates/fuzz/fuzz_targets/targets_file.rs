#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fleet::fuzz::targets_file(bytes));

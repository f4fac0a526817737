//! Any text as a targets file is taken or refused in one line.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fleet::fuzz::targets_file(bytes));

//! Frames and records of the store, damaged in any way.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| leafd::store::fuzz::records(data));

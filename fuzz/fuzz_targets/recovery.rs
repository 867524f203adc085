//! Opening a store whose files were damaged in any way.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| leafd::store::fuzz::recovery(data));

//! Indexes, checkpoints, removals, keys, salts and spilled subjects, with anything in them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| leafd::store::fuzz_hints::hints(data));

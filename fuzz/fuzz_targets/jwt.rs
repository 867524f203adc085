//! JWTs: as tokens, and as the bodies of such that are signed.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| leafd::auth::fuzz::jwt(data));

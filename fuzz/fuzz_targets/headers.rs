//! Header blocks: what is read is read again from a copy, line ends within values apart.
#![no_main]

use leafd::protocol::headers::{self, HeadersBuilder};
use libfuzzer_sys::fuzz_target;
use std::collections::HashMap;

fuzz_target!(|block: &[u8]| {
    let _ = headers::status(block);
    let copy = HeadersBuilder::new().copy(block, |_| true).build();
    let plain =
        |(name, value): (&str, &str)| (name.to_owned(), value.replace('\r', " ").trim_matches([' ', '\t']).to_owned());
    let found: Vec<_> = headers::iter(block).map(plain).collect();
    assert_eq!(found, headers::iter(&copy).map(plain).collect::<Vec<_>>());
    let mut first = HashMap::new();
    for (name, value) in headers::iter(block) {
        first.entry(name).or_insert(value);
    }
    for (name, value) in first {
        assert_eq!(headers::get(block, name), Some(value));
    }
});

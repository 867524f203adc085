//! Header blocks: what is read is read again from a copy, line ends within values apart.
#![no_main]

use leafd::protocol::headers::{self, HeadersBuilder};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|block: &[u8]| {
    let _ = headers::status(block);
    let copy = HeadersBuilder::new().copy(block, |_| true).build();
    let plain =
        |(name, value): (&str, &str)| (name.to_owned(), value.replace('\r', " ").trim_matches([' ', '\t']).to_owned());
    let found: Vec<_> = headers::iter(block).map(plain).collect();
    assert_eq!(found, headers::iter(&copy).map(plain).collect::<Vec<_>>());
    for (name, _) in headers::iter(block) {
        let first = headers::iter(block).find(|(key, _)| *key == name).map(|(_, value)| value);
        assert_eq!(headers::get(block, name), first);
    }
});

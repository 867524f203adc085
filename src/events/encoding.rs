//! What is said to those who take it compressed (nats-server `msgtrace.go`, `getCompressionType`; `events.go`,
//! `internalSendLoop`).

use super::snappy;
use crate::protocol::headers;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

const SNAPPY: &[u8] = b"NATS/1.0\r\nContent-Encoding: snappy\r\n\r\n";
const GZIP: &[u8] = b"NATS/1.0\r\nContent-Encoding: gzip\r\n\r\n";
const IDENTITY: &[u8] = b"NATS/1.0\r\nContent-Encoding: identity\r\n\r\n";

/// Headers and payload for `plain`, where `asked` are the headers of who asked for it.
pub fn encode(asked: &[u8], plain: Vec<u8>) -> (&'static [u8], Vec<u8>) {
    let accepted = headers::get(asked, "Accept-Encoding").unwrap_or_default().to_ascii_lowercase();
    match &*accepted {
        "" => (&[], plain),
        list if list.contains("snappy") || list.contains("s2") => (SNAPPY, snappy::stream(&plain)),
        list if list.contains("gzip") => match gzip(&plain) {
            Ok(small) => (GZIP, small),
            Err(_) => (IDENTITY, plain),
        },
        _ => (IDENTITY, plain),
    }
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

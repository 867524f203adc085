//! The client's protocol: whatever comes, and however it is cut into reads, the same operations are seen.
#![no_main]

use leafd::protocol::{Limits, Op, Parser};
use libfuzzer_sys::fuzz_target;

/// Small, so that they are reached.
const LIMITS: Limits = Limits { control_line: 64, payload: 256 };

fuzz_target!(|data: &[u8]| {
    let Some((step, stream)) = data.split_first() else { return };
    assert_eq!(operations(stream, stream.len().max(1)), operations(stream, usize::from(*step).max(1)));
});

/// The operations in `stream` when it arrives `step` bytes at a time, and whether it breaks the protocol.
fn operations(stream: &[u8], step: usize) -> (Vec<Op<'_>>, bool) {
    let (mut parser, mut found, mut from, mut to) = (Parser::default(), Vec::new(), 0, 0);
    loop {
        match parser.next(&stream[from..to], &LIMITS) {
            Err(_) => return (found, true),
            Ok(Some((op, used))) => {
                assert!(used > 0 && used <= to - from);
                from += used;
                found.push(op);
            }
            Ok(None) if to == stream.len() => return (found, false),
            Ok(None) => to = stream.len().min(to + step),
        }
    }
}

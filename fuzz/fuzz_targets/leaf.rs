//! The protocol between leaf and hub: the same operations however it is cut into reads, and what we write is read back.
#![no_main]

use leafd::protocol::Limits;
use leafd::protocol::leaf::{LeafOp, LeafParser, push_message, push_subscribe, push_unsubscribe};
use libfuzzer_sys::fuzz_target;

/// Small, so that they are reached.
const LIMITS: Limits = Limits { control_line: 64, payload: 256 };

fuzz_target!(|data: &[u8]| {
    let Some((step, stream)) = data.split_first() else { return };
    let whole = operations(stream, stream.len().max(1), &LIMITS);
    assert_eq!(whole, operations(stream, usize::from(*step).max(1), &LIMITS));
    whole.0.iter().for_each(written_is_read);
});

/// The operations in `stream` when it arrives `step` bytes at a time, and whether it breaks the protocol.
fn operations<'a>(stream: &'a [u8], step: usize, limits: &Limits) -> (Vec<LeafOp<'a>>, bool) {
    let (mut parser, mut found, mut from, mut to) = (LeafParser::default(), Vec::new(), 0, 0);
    loop {
        match parser.next(&stream[from..to], limits) {
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

fn written_is_read(op: &LeafOp<'_>) {
    let mut out = Vec::new();
    match op {
        LeafOp::Subscribe { subject, queue, weight } => push_subscribe(&mut out, subject, *queue, *weight),
        LeafOp::Unsubscribe { subject, queue } => push_unsubscribe(&mut out, subject, *queue),
        LeafOp::Message { subject, reply, queues, headers, payload } => {
            push_message(&mut out, subject, reply, queues, headers, payload);
        }
        _ => return,
    }
    assert_eq!(operations(&out, out.len(), &Limits::default()), (vec![op.clone()], false));
}

//! The S2 reader of the leaf link: any bytes are refused or read without a panic, the same however they are cut; what is written
//! is read back.
#![no_main]

use leafd::leaf::s2::{Decoded, Decoder, Encoder, LEVELS};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((how, rest)) = data.split_first() else { return };
    let step = usize::from(how >> 2).max(1);
    // Without the beginning of a stream little of it would be reached.
    let stream = [if how & 1 == 0 { &b"\xff\x06\0\0S2sTwO"[..] } else { b"" }, rest].concat();
    assert_eq!(read(&stream, stream.len().max(1)), read(&stream, step));
    if !rest.is_empty() {
        let (mut encoder, mut packed) = (Encoder::default(), Vec::new());
        for (block, level) in rest.chunks(step * 7).zip(LEVELS.iter().cycle().skip(usize::from(*how))) {
            encoder.push(block, *level, &mut packed);
        }
        assert_eq!(read(&packed, packed.len()), (rest.to_vec(), false));
    }
});

/// What a stream holds that arrives `step` bytes at a time, and whether it is damaged.
fn read(stream: &[u8], step: usize) -> (Vec<u8>, bool) {
    let (mut decoder, mut plain, mut from, mut to) = (Decoder::default(), Vec::new(), 0, 0);
    loop {
        let before = plain.len();
        match decoder.pull(&stream[from..to], &mut plain) {
            Err(_) => {
                plain.truncate(before);
                return (plain, true);
            }
            Ok(Decoded::Chunk(used)) => {
                assert!(used > 0 && used <= to - from);
                from += used;
            }
            Ok(Decoded::Wanted(size)) => {
                assert!(size > to - from);
                if to == stream.len() {
                    return (plain, false);
                }
                to = stream.len().min(to + step);
            }
        }
    }
}

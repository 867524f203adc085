//! permessage-deflate without context takeover (RFC 7692): every message is compressed on its own, so that one compressor
//! per thread serves all connections and an idle connection keeps no window.

use super::frame::FrameError;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::cell::RefCell;

/// Smaller messages are sent as they are (nats-server `wsCompressThreshold`), bytes.
pub const THRESHOLD: usize = 64;
/// Most compressed bytes of one message that are collected, whatever `max_payload` is.
const MAX_COMPRESSED: usize = 64 << 20;
/// What a sync flush ends with; left out on the wire.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// [`TAIL`] and an empty last block: where it is not reached, the message was cut.
const END: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];
const STEP: usize = 16 * 1024;

thread_local! {
    static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
    static DECOMPRESS: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// Most compressed bytes of one message if a NATS message may have `max_payload` bytes (nats-server `wsMaxMessageSize`).
pub fn max_compressed(max_payload: usize) -> usize {
    max_payload.saturating_mul(8).min(MAX_COMPRESSED)
}

/// A message compressed.
pub fn compress(message: &[u8]) -> Vec<u8> {
    COMPRESS.with_borrow_mut(|compress| {
        compress.reset();
        let mut out = Vec::with_capacity(message.len() / 2 + STEP / 16);
        loop {
            let read = compress.total_in() as usize;
            // The compressor has no state in which it refuses input.
            let _ = compress.compress_vec(&message[read..], &mut out, FlushCompress::Sync);
            if compress.total_in() as usize == message.len() && out.len() < out.capacity() {
                break;
            }
            out.reserve(STEP);
        }
        if out.ends_with(&TAIL) {
            out.truncate(out.len() - TAIL.len());
        }
        out
    })
}

/// The message that was compressed, of at most `limit` bytes. `compressed` is used up.
pub fn decompress(mut compressed: Vec<u8>, limit: usize) -> Result<Vec<u8>, FrameError> {
    compressed.extend_from_slice(&END);
    DECOMPRESS.with_borrow_mut(|decompress| {
        decompress.reset(false);
        let mut out = Vec::new();
        loop {
            out.reserve(STEP);
            let read = decompress.total_in() as usize;
            let before = out.len();
            let status = decompress.decompress_vec(&compressed[read..], &mut out, FlushDecompress::Sync);
            let status = status.map_err(|_| FrameError::Deflate)?;
            if out.len() > limit {
                return Err(FrameError::TooLarge);
            }
            let stuck = out.len() == before && decompress.total_in() as usize == read;
            match status {
                Status::StreamEnd => return Ok(out),
                _ if stuck => return Err(FrameError::Deflate),
                _ => {}
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_that_grows_beyond_the_limit_is_refused() {
        let bomb = compress(&vec![0; 1 << 20]);
        assert!(bomb.len() < 10_000);
        assert_eq!(decompress(bomb.clone(), 1 << 19), Err(FrameError::TooLarge));
        assert_eq!(decompress(bomb, 1 << 20).map(|m| m.len()), Ok(1 << 20));
        assert_eq!(decompress(vec![0xff; 100], 1000), Err(FrameError::Deflate));
    }

    proptest! {
        #[test]
        fn messages_come_back(message in proptest::collection::vec(0..4u8, 0..100_000)) {
            let compressed = compress(&message);
            prop_assert_eq!(decompress(compressed, 1 << 20), Ok(message));
        }

        #[test]
        fn any_bytes_end(bytes: Vec<u8>) {
            let _ = decompress(bytes, 1 << 16);
        }
    }
}

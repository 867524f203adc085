//! Framing: from a stream of bytes to frames.

use bytes::Bytes;

/// Frames end with a line feed; a carriage return before it is dropped, and so are empty frames. A frame longer than the
/// bound is dropped as a whole, and reading goes on at the next line feed.
#[derive(Debug)]
pub struct Newline {
    max_length: usize,
    partial: Vec<u8>,
    skipping: bool,
    dropped: u64,
}

impl Newline {
    /// Frames of at most `max_length` bytes, the line end not counted.
    pub fn new(max_length: usize) -> Newline {
        Newline { max_length, partial: Vec::new(), skipping: false, dropped: 0 }
    }

    /// Takes bytes in; whole frames are added to `frames`.
    pub fn push(&mut self, mut bytes: &[u8], frames: &mut Vec<Bytes>) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            bytes = rest;
            self.keep(line);
            let frame = std::mem::take(&mut self.partial);
            let frame = frame.strip_suffix(b"\r").unwrap_or(&frame);
            if !std::mem::take(&mut self.skipping) && !frame.is_empty() {
                if frame.len() > self.max_length {
                    self.dropped += 1;
                } else {
                    frames.push(Bytes::copy_from_slice(frame));
                }
            }
        }
        self.keep(bytes);
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.skipping {
            return;
        }
        // One more than the bound, for a carriage return.
        if self.partial.len() + bytes.len() > self.max_length + 1 {
            self.skipping = true;
            self.partial = Vec::new();
            self.dropped += 1;
        } else {
            self.partial.extend_from_slice(bytes);
        }
    }

    /// Frames dropped since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(framer: &mut Newline, chunks: &[&[u8]]) -> Vec<Bytes> {
        let mut out = Vec::new();
        chunks.iter().for_each(|chunk| framer.push(chunk, &mut out));
        out
    }

    #[test]
    fn lines_become_frames() {
        let mut framer = Newline::new(5);
        assert_eq!(frames(&mut framer, &[b"a\r\nb", b"c\n\n\r\nde"]), ["a", "bc"]);
        assert_eq!(frames(&mut framer, &[b"f\n12345\r\n123456\n", b"toolong", b"still\nok\n"]), ["def", "12345", "ok"]);
        assert_eq!(framer.take_dropped(), 2);
    }

    proptest! {
        #[test]
        fn splits_do_not_matter_and_memory_is_bounded(bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200), cut in 0usize..200) {
            let cut = cut.min(bytes.len());
            let (mut whole, mut parts) = (Newline::new(7), Newline::new(7));
            let expected = frames(&mut whole, &[&bytes]);
            prop_assert_eq!(frames(&mut parts, &[&bytes[..cut], &bytes[cut..]]), expected);
            prop_assert_eq!(whole.take_dropped(), parts.take_dropped());
            prop_assert!(parts.partial.len() <= 8);
        }
    }
}

//! WebSocket frames: the header's layout, masking and close statuses (RFC 6455, section 5; nats-server `websocket.go`).

use crate::server::outbound::CloseReason;

/// Longest header of a frame: 64-bit length and masking key.
pub const MAX_HEADER: usize = 14;
/// Most payload of a control frame.
pub const MAX_CONTROL: usize = 125;

const FINAL: u8 = 0x80;
const COMPRESSED: u8 = 0x40;
const RESERVED: u8 = 0x30;
const MASKED: u8 = 0x80;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// More of the message before.
    Continuation,
    /// A message; its text is not looked at, as the protocol inside is bytes.
    Text,
    /// A message.
    Binary,
    /// The other side ends.
    Close,
    /// To be answered by a pong with the same payload.
    Ping,
    /// Answer to a ping.
    Pong,
}

impl Opcode {
    fn of(bits: u8) -> Option<Opcode> {
        Some(match bits {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Opcode::Continuation => 0,
            Opcode::Text => 1,
            Opcode::Binary => 2,
            Opcode::Close => 8,
            Opcode::Ping => 9,
            Opcode::Pong => 10,
        }
    }

    /// Whether it may come between the frames of a message.
    pub fn is_control(self) -> bool {
        self.bits() >= 8
    }
}

/// A breach of RFC 6455, in nats-server's words; they go to the other side in the close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Bits that no extension uses.
    #[error("RSV2 and RSV3 must be clear")]
    Reserved,
    /// Compression was not agreed upon.
    #[error("compressed frame received without negotiated permessage-deflate")]
    NotNegotiated,
    /// A client's frame without a mask.
    #[error("mask bit missing")]
    MaskMissing,
    /// A control frame above [`MAX_CONTROL`].
    #[error("control frame length bigger than maximum allowed of {MAX_CONTROL} bytes")]
    LongControl,
    /// A control frame in fragments.
    #[error("control frame does not have final bit set")]
    FragmentedControl,
    /// A compressed control frame.
    #[error("control frame must not be compressed")]
    CompressedControl,
    /// A message inside another.
    #[error("new message started before final frame for previous message was received")]
    Interleaved,
    /// Nothing to continue, or compressed on its own.
    #[error("invalid continuation frame")]
    Continuation,
    /// An opcode that RFC 6455 does not define.
    #[error("unknown opcode {0}")]
    Opcode(u8),
    /// The highest bit of the length is set.
    #[error("invalid 64-bit payload length")]
    Length,
    /// Half a status.
    #[error("close frame payload cannot be 1 byte")]
    CloseLength,
    /// A status that must not be on the wire.
    #[error("invalid close status code {0}")]
    CloseStatus(u16),
    /// A compressed message that grows, or is, larger than a message may be.
    #[error("maximum payload exceeded")]
    TooLarge,
    /// Not a deflate stream.
    #[error("compressed message is not valid")]
    Deflate,
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub opcode: Opcode,
    /// Last frame of its message.
    pub last: bool,
    /// The message is compressed (permessage-deflate, RFC 7692); only in its first frame.
    pub compressed: bool,
    /// Masking key, which a client's frames have.
    pub mask: Option<[u8; 4]>,
    /// Bytes of payload that follow.
    pub length: u64,
}

impl Header {
    /// Reads a header from the beginning of `bytes`: the header and its size, or `None` if there is more to come.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, FrameError> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        if first & RESERVED != 0 {
            return Err(FrameError::Reserved);
        }
        let opcode = Opcode::of(first & 0x0f).ok_or(FrameError::Opcode(first & 0x0f))?;
        let (last, compressed) = (first & FINAL != 0, first & COMPRESSED != 0);
        let short = second & !MASKED;
        if opcode.is_control() {
            match () {
                () if usize::from(short) > MAX_CONTROL => return Err(FrameError::LongControl),
                () if !last => return Err(FrameError::FragmentedControl),
                () if compressed => return Err(FrameError::CompressedControl),
                () => {}
            }
        }
        let (length, rest) = match (short, rest) {
            (126, [a, b, rest @ ..]) => (u64::from(u16::from_be_bytes([*a, *b])), rest),
            (127, [a, b, c, d, e, f, g, h, rest @ ..]) => (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), rest),
            (126.., _) => return Ok(None),
            (length, rest) => (u64::from(length), rest),
        };
        if length >> 63 != 0 {
            return Err(FrameError::Length);
        }
        let (mask, rest) = match (second & MASKED != 0, rest) {
            (false, rest) => (None, rest),
            (true, [a, b, c, d, rest @ ..]) => (Some([*a, *b, *c, *d]), rest),
            (true, _) => return Ok(None),
        };
        Ok(Some((Header { opcode, last, compressed, mask, length }, bytes.len() - rest.len())))
    }

    /// Appends the header as sent.
    pub fn write(&self, out: &mut Vec<u8>) {
        let last = if self.last { FINAL } else { 0 };
        let compressed = if self.compressed { COMPRESSED } else { 0 };
        let masked = if self.mask.is_some() { MASKED } else { 0 };
        out.push(self.opcode.bits() | last | compressed);
        match self.length {
            short @ ..126 => out.push(masked | short as u8),
            middle @ ..65536 => {
                out.push(masked | 126);
                out.extend_from_slice(&(middle as u16).to_be_bytes());
            }
            long => {
                out.push(masked | 127);
                out.extend_from_slice(&long.to_be_bytes());
            }
        }
        out.extend_from_slice(self.mask.as_ref().map_or(&[], |mask| &mask[..]));
    }
}

/// The order of frames: which may follow which, and what the two sides have agreed upon.
#[derive(Clone, Copy, Debug)]
pub struct Sequence {
    /// The other side's frames must be masked.
    pub masked: bool,
    /// permessage-deflate has been negotiated.
    pub compression: bool,
    /// `Some` within a message, and whether that one is compressed.
    message: Option<bool>,
}

impl Sequence {
    /// Before the first frame.
    pub fn new(masked: bool, compression: bool) -> Sequence {
        Sequence { masked, compression, message: None }
    }

    /// Takes the next header; tells whether its payload belongs to a compressed message.
    pub fn take(&mut self, header: &Header) -> Result<bool, FrameError> {
        if header.compressed && !self.compression {
            return Err(FrameError::NotNegotiated);
        }
        if self.masked && header.mask.is_none() {
            return Err(FrameError::MaskMissing);
        }
        let compressed = match (header.opcode, self.message) {
            (opcode, _) if opcode.is_control() => return Ok(false),
            (Opcode::Continuation, Some(compressed)) if !header.compressed => compressed,
            (Opcode::Continuation, _) => return Err(FrameError::Continuation),
            (_, Some(_)) => return Err(FrameError::Interleaved),
            (_, None) => header.compressed,
        };
        self.message = (!header.last).then_some(compressed);
        Ok(compressed)
    }
}

/// Applies `mask` to `bytes`, which begin at `offset` of the payload. Masking and unmasking are the same.
pub fn mask(mask: [u8; 4], offset: u64, bytes: &mut [u8]) {
    let mut key = mask;
    key.rotate_left((offset & 3) as usize);
    let word = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// Status of a breach of the protocol.
pub const PROTOCOL_ERROR: u16 = 1002;
/// Status of a close frame whose text is not UTF-8.
const INVALID_DATA: u16 = 1007;
/// Status of a message that is too large.
pub const TOO_BIG: u16 = 1009;

/// The payload of the close frame that answers one with `payload`; empty if that gave no status.
pub fn close_answer(payload: &[u8]) -> Result<Vec<u8>, FrameError> {
    let (status, text) = match payload {
        [] => return Ok(Vec::new()),
        [_] => return Err(FrameError::CloseLength),
        [a, b, text @ ..] => (u16::from_be_bytes([*a, *b]), text),
    };
    if !(1000..5000).contains(&status) || matches!(status, 1004..=1006 | 1015..=2999) {
        return Err(FrameError::CloseStatus(status));
    }
    Ok(match std::str::from_utf8(text) {
        Ok(text) => close_payload(status, text),
        Err(_) => close_payload(INVALID_DATA, "invalid utf8 body in close frame"),
    })
}

/// The payload of a close frame; `text` is cut to what a control frame takes.
pub fn close_payload(status: u16, text: &str) -> Vec<u8> {
    let mut payload = status.to_be_bytes().to_vec();
    payload.extend_from_slice(&text.as_bytes()[..text.len().min(MAX_CONTROL - 2)]);
    payload
}

/// The status that tells a client why we close (nats-server `wsEnqueueCloseMessage`).
pub fn status_of(reason: &CloseReason) -> u16 {
    match reason {
        CloseReason::ClientClosed => 1000,
        CloseReason::WriteError
        | CloseReason::ReadError
        | CloseReason::Stale
        | CloseReason::ServerShutdown
        | CloseReason::LameDuck => 1001,
        CloseReason::ProtocolViolation => PROTOCOL_ERROR,
        CloseReason::MaxPayload => TOO_BIG,
        CloseReason::TlsHandshake => 1015,
        _ => 1008,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(opcode: Opcode, length: u64) -> Header {
        Header { opcode, last: true, compressed: false, mask: Some([1, 2, 3, 4]), length }
    }

    #[test]
    fn breaches_are_refused() {
        for (bytes, error) in [
            (&[0xa2, 0x80][..], FrameError::Reserved),
            (&[0x92, 0x80], FrameError::Reserved),
            (&[0x83, 0x80], FrameError::Opcode(3)),
            (&[0x8b, 0x80], FrameError::Opcode(11)),
            (&[0x89, 0xfe, 0, 126], FrameError::LongControl),
            (&[0x09, 0x80], FrameError::FragmentedControl),
            (&[0xc9, 0x80], FrameError::CompressedControl),
            (&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], FrameError::Length),
        ] {
            assert_eq!(Header::parse(bytes), Err(error), "{bytes:x?}");
        }
        let mut order = Sequence::new(true, true);
        let part = Header { last: false, compressed: true, ..header(Opcode::Binary, 1) };
        let (more, end) = (Header { last: false, ..header(Opcode::Continuation, 1) }, header(Opcode::Continuation, 1));
        assert_eq!(order.take(&end), Err(FrameError::Continuation));
        assert_eq!(order.take(&part), Ok(true));
        assert_eq!(order.take(&header(Opcode::Ping, 0)), Ok(false), "control frames may come between");
        assert_eq!(order.take(&header(Opcode::Text, 1)), Err(FrameError::Interleaved));
        assert_eq!(order.take(&Header { compressed: true, ..more }), Err(FrameError::Continuation));
        assert_eq!((order.take(&more), order.take(&end)), (Ok(true), Ok(true)));
        assert_eq!(order.take(&header(Opcode::Text, 1)), Ok(false));
        assert_eq!(order.take(&Header { mask: None, ..header(Opcode::Text, 1) }), Err(FrameError::MaskMissing));
        assert_eq!(Sequence::new(true, false).take(&part), Err(FrameError::NotNegotiated));
        assert_eq!(Sequence::new(false, false).take(&Header { mask: None, ..header(Opcode::Text, 1) }), Ok(false));
    }

    #[test]
    fn a_close_frame_is_answered_with_its_own_status() {
        assert_eq!(close_answer(&[]), Ok(vec![]));
        assert_eq!(close_answer(&[3]), Err(FrameError::CloseLength));
        for status in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000] {
            assert_eq!(close_answer(&u16::to_be_bytes(status)), Err(FrameError::CloseStatus(status)));
        }
        for status in [1000u16, 1003, 1014, 3000, 4999] {
            let payload = [&status.to_be_bytes()[..], b"bye"].concat();
            assert_eq!(close_answer(&payload), Ok(payload));
        }
        assert_eq!(close_answer(&[3, 0xe8, 0xff]).map(|p| [p[0], p[1]]), Ok(1007u16.to_be_bytes()));
        assert_eq!(close_payload(1002, &"x".repeat(300)).len(), MAX_CONTROL);
    }

    proptest! {
        #[test]
        fn headers_come_back_as_written(
            opcode in prop_oneof![Just(Opcode::Continuation), Just(Opcode::Text), Just(Opcode::Binary)],
            last: bool,
            compressed: bool,
            mask: Option<[u8; 4]>,
            length in prop_oneof![0..200u64, 60_000..70_000u64, 0..1u64 << 63],
            rest: Vec<u8>,
        ) {
            let header = Header { opcode, last, compressed, mask, length };
            let mut bytes = Vec::new();
            header.write(&mut bytes);
            let size = bytes.len();
            prop_assert!(size <= MAX_HEADER);
            for part in 0..size {
                prop_assert_eq!(Header::parse(&bytes[..part]), Ok(None));
            }
            bytes.extend_from_slice(&rest);
            prop_assert_eq!(Header::parse(&bytes), Ok(Some((header, size))));
        }

        #[test]
        fn any_bytes_are_a_header_an_error_or_too_short(bytes: Vec<u8>) {
            if let Ok(Some((header, size))) = Header::parse(&bytes) {
                prop_assert!(size <= bytes.len() && header.length >> 63 == 0);
            }
        }

        #[test]
        fn a_mask_is_the_same_in_parts_and_undoes_itself(key: [u8; 4], bytes: Vec<u8>, cut in 0..100usize) {
            let mut masked = bytes.clone();
            let cut = cut.min(bytes.len());
            let (front, back) = masked.split_at_mut(cut);
            mask(key, 0, front);
            mask(key, cut as u64, back);
            let naive: Vec<u8> = bytes.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k).collect();
            prop_assert_eq!(&masked, &naive);
            mask(key, 0, &mut masked);
            prop_assert_eq!(masked, bytes);
        }
    }
}

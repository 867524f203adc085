//! The client's side of the grammar: from a read buffer to operations that borrow from it.
//!
//! [`Parser::next`] takes the unread bytes and gives the first operation with the number of bytes it used, or says that
//! more are needed; nothing is copied. What it remembers between calls is only how far it has searched for a line end, so
//! that a slowly arriving line is not searched again from its start.

use super::ProtocolError;
use super::number;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

/// Limits that the parser enforces.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest arguments of a control line, bytes without the operation's name and CRLF (nats-server `parser.go`,
    /// `overMaxControlLineLimit`).
    pub control_line: usize,
    /// Largest message, bytes of headers and payload.
    pub payload: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { control_line: 4096, payload: 1024 * 1024 }
    }
}

/// One operation of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// `CONNECT {json}`
    Connect(&'a [u8]),
    /// `PUB` and `HPUB`
    Publish {
        /// Not yet checked for validity.
        subject: &'a str,
        /// Empty if there is none.
        reply: &'a str,
        /// Verbatim block; empty for `PUB`.
        headers: &'a [u8],
        /// The body.
        payload: &'a [u8],
    },
    /// `SUB subject [queue] sid`
    Subscribe {
        /// Not yet checked for validity.
        subject: &'a str,
        /// Queue group.
        queue: Option<&'a str>,
        /// The client's id of the subscription.
        sid: &'a str,
    },
    /// `UNSUB sid [max]`
    Unsubscribe {
        /// The client's id of the subscription.
        sid: &'a str,
        /// Total deliveries after which it ends.
        max: Option<u64>,
    },
    /// `PING`
    Ping,
    /// `PONG`
    Pong,
    /// `INFO`, `+OK`: harmless from a client, and ignored.
    Ignored,
}

/// The parser of one connection.
#[derive(Debug, Default)]
pub struct Parser {
    /// Bytes of the unread buffer that are known to hold no line end.
    searched: usize,
    /// For a message whose line is whole but whose payload is not: bytes needed before parsing can go on.
    wanted: usize,
}

impl Parser {
    /// The first operation in `buffer` and how many bytes it takes, or `None` if it is not whole yet.
    ///
    /// # Errors
    /// A breach of the protocol; the connection cannot go on, as the position in the stream is lost.
    pub fn next<'a>(&mut self, buffer: &'a [u8], limits: &Limits) -> Result<Option<(Op<'a>, usize)>, ProtocolError> {
        if buffer.len() < self.wanted {
            return Ok(None);
        }
        let from = self.searched.min(buffer.len());
        let Some(end) = memchr::memchr(b'\n', &buffer[from..]).map(|at| from + at) else {
            self.searched = buffer.len();
            // The line end may have come by half.
            let line = buffer.strip_suffix(b"\r").unwrap_or(buffer);
            if is_long(line, split_name(line).1, limits) {
                return Err(ProtocolError::ControlLine);
            }
            // Garbage is told from an operation by its first bytes, before it can fill the buffer.
            return if could_begin(buffer) { Ok(None) } else { Err(ProtocolError::UnknownOperation) };
        };
        let line = &buffer[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (name, args) = split_name(line);
        if is_long(line, args, limits) {
            return Err(ProtocolError::ControlLine);
        }
        let used = end + 1;
        // An operation that takes arguments and has not even a blank behind it is none.
        let bare = name.len() == line.len();
        let op = match name.len() {
            3..=5 if bare && takes_arguments(name) => return Err(ProtocolError::UnknownOperation),
            3 if name.eq_ignore_ascii_case(b"PUB") => return self.message(buffer, used, args, false, limits),
            4 if name.eq_ignore_ascii_case(b"HPUB") => return self.message(buffer, used, args, true, limits),
            3 if name.eq_ignore_ascii_case(b"SUB") => subscribe(args)?,
            5 if name.eq_ignore_ascii_case(b"UNSUB") => unsubscribe(args)?,
            // What follows these is passed over, a blank in front of it or not.
            4.. if name[..4].eq_ignore_ascii_case(b"PING") => Op::Ping,
            4.. if name[..4].eq_ignore_ascii_case(b"PONG") => Op::Pong,
            7 if name.eq_ignore_ascii_case(b"CONNECT") => Op::Connect(args),
            4 if name.eq_ignore_ascii_case(b"INFO") && is_object(args) => Op::Ignored,
            4 if name.eq_ignore_ascii_case(b"INFO") => return Err(ProtocolError::Arguments),
            3 if name.eq_ignore_ascii_case(b"+OK") => Op::Ignored,
            4 if name.eq_ignore_ascii_case(b"-ERR") => return Err(ProtocolError::PeerError),
            _ => return Err(ProtocolError::UnknownOperation),
        };
        self.searched = 0;
        self.wanted = 0;
        Ok(Some((op, used)))
    }

    fn message<'a>(
        &mut self,
        buffer: &'a [u8],
        body: usize,
        args: &'a [u8],
        with_headers: bool,
        limits: &Limits,
    ) -> Result<Option<(Op<'a>, usize)>, ProtocolError> {
        let mut fields = Fields::<4>::of(args)?;
        let total = number::size(fields.pop()?).ok_or(ProtocolError::Arguments)?;
        let header_len = match with_headers {
            true => number::size(fields.pop()?).filter(|n| *n <= total).ok_or(ProtocolError::Arguments)?,
            false => 0,
        };
        let (subject, reply) = match fields.rest() {
            [subject] => (text(subject)?, ""),
            [subject, reply] => (text(subject)?, text(reply)?),
            _ => return Err(ProtocolError::Arguments),
        };
        if total > limits.payload {
            return Err(ProtocolError::Payload);
        }
        let end = body + total + 2;
        if buffer.len() < end {
            // The line end was found at `body`; keep that, and come back when the rest is there.
            self.searched = body - 1;
            self.wanted = end;
            return Ok(None);
        }
        if &buffer[end - 2..end] != b"\r\n" {
            return Err(ProtocolError::Unterminated);
        }
        let (headers, payload) = buffer[body..end - 2].split_at(header_len);
        self.searched = 0;
        self.wanted = 0;
        Ok(Some((Op::Publish { subject, reply, headers, payload }, end)))
    }

    /// How many bytes the buffer must hold before [`Parser::next`] can give the operation it has begun; 0 if unknown.
    pub fn wanted(&self) -> usize {
        self.wanted
    }
}

fn is_long(line: &[u8], args: &[u8], limits: &Limits) -> bool {
    // In front of them are a name and blanks, of which there is no sense in more.
    args.len() > limits.control_line || line.len() - args.len() > limits.control_line + "CONNECT ".len()
}

fn takes_arguments(name: &[u8]) -> bool {
    [&b"PUB"[..], b"HPUB", b"SUB", b"UNSUB", b"-ERR"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn is_object(json: &[u8]) -> bool {
    serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(json).is_ok()
}

/// Splits at the first blank; the arguments have their leading blanks removed.
fn split_name(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|b| matches!(b, b' ' | b'\t')) {
        Some(at) => (&line[..at], line[at..].trim_ascii_start()),
        None => (line, &[]),
    }
}

fn could_begin(buffer: &[u8]) -> bool {
    const NAMES: [&[u8]; 10] =
        [b"PUB", b"HPUB", b"SUB", b"UNSUB", b"PING", b"PONG", b"CONNECT", b"INFO", b"+OK", b"-ERR"];
    NAMES.iter().any(|name| {
        let n = name.len().min(buffer.len());
        buffer[..n].eq_ignore_ascii_case(&name[..n])
    })
}

fn text(field: &[u8]) -> Result<&str, ProtocolError> {
    std::str::from_utf8(field).map_err(|_| ProtocolError::Arguments)
}

fn subscribe(args: &[u8]) -> Result<Op<'_>, ProtocolError> {
    let fields = Fields::<3>::of_subscription(args)?;
    match fields.rest() {
        [subject, sid] => Ok(Op::Subscribe { subject: text(subject)?, queue: None, sid: text(sid)? }),
        [subject, queue, sid] => {
            Ok(Op::Subscribe { subject: text(subject)?, queue: Some(text(queue)?), sid: text(sid)? })
        }
        _ => Err(ProtocolError::Arguments),
    }
}

fn unsubscribe(args: &[u8]) -> Result<Op<'_>, ProtocolError> {
    let fields = Fields::<2>::of_subscription(args)?;
    match fields.rest() {
        [sid] => Ok(Op::Unsubscribe { sid: text(sid)?, max: None }),
        [sid, max] => {
            // What is no number counts as none, as in nats-server.
            Ok(Op::Unsubscribe { sid: text(sid)?, max: number::size(max).map(|max| max as u64) })
        }
        _ => Err(ProtocolError::Arguments),
    }
}

/// At most `N` fields separated by blanks, without allocating.
struct Fields<'a, const N: usize> {
    fields: [&'a [u8]; N],
    len: usize,
}

impl<'a, const N: usize> Fields<'a, N> {
    fn of(args: &'a [u8]) -> Result<Self, ProtocolError> {
        Self::between(args, |byte| matches!(byte, b' ' | b'\t'))
    }

    /// As SUB and UNSUB take them: a carriage return is a blank there.
    fn of_subscription(args: &'a [u8]) -> Result<Self, ProtocolError> {
        Self::between(args, |byte| matches!(byte, b' ' | b'\t' | b'\r'))
    }

    fn between(args: &'a [u8], is_blank: impl Fn(u8) -> bool) -> Result<Self, ProtocolError> {
        let mut fields = Fields { fields: [&[]; N], len: 0 };
        let mut start = None;
        for (at, byte) in args.iter().enumerate() {
            match (is_blank(*byte), start) {
                (false, None) => start = Some(at),
                (true, Some(from)) => {
                    fields.push(&args[from..at])?;
                    start = None;
                }
                _ => {}
            }
        }
        if let Some(from) = start {
            fields.push(&args[from..])?;
        }
        Ok(fields)
    }

    fn push(&mut self, field: &'a [u8]) -> Result<(), ProtocolError> {
        *self.fields.get_mut(self.len).ok_or(ProtocolError::Arguments)? = field;
        self.len += 1;
        Ok(())
    }

    fn pop(&mut self) -> Result<&'a [u8], ProtocolError> {
        self.len = self.len.checked_sub(1).ok_or(ProtocolError::Arguments)?;
        Ok(self.fields[self.len])
    }

    fn rest(&self) -> &[&'a [u8]] {
        &self.fields[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(bytes: &[u8]) -> Result<Option<(Op<'_>, usize)>, ProtocolError> {
        Parser::default().next(bytes, &Limits::default())
    }

    #[test]
    fn a_line_of_the_greatest_length_is_taken_wherever_a_read_ends() {
        let limits = Limits { control_line: 3, payload: 0 };
        let mut parser = Parser::default();
        assert_eq!(parser.next(b"SUB a 7\r", &limits), Ok(None));
        assert!(matches!(parser.next(b"SUB a 7\r\n", &limits), Ok(Some((Op::Subscribe { .. }, 9)))));
        assert_eq!(Parser::default().next(b"SUB a 78", &limits), Err(ProtocolError::ControlLine));
    }

    #[test]
    fn operations() {
        for (line, want) in [
            ("PING\r\n", Op::Ping),
            ("pong\n", Op::Pong),
            ("CONNECT {}\r\n", Op::Connect(b"{}")),
            ("SUB a.* 1\r\n", Op::Subscribe { subject: "a.*", queue: None, sid: "1" }),
            ("SUB  a q\t1 \r\n", Op::Subscribe { subject: "a", queue: Some("q"), sid: "1" }),
            ("UNSUB 1\r\n", Op::Unsubscribe { sid: "1", max: None }),
            ("UNSUB 1 5\r\n", Op::Unsubscribe { sid: "1", max: Some(5) }),
            ("PUB a 2\r\nhi\r\n", Op::Publish { subject: "a", reply: "", headers: b"", payload: b"hi" }),
            ("PUB a r 0\r\n\r\n", Op::Publish { subject: "a", reply: "r", headers: b"", payload: b"" }),
            (
                "HPUB a r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
                Op::Publish { subject: "a", reply: "r", headers: b"NATS/1.0\r\n\r\n", payload: b"hi" },
            ),
            ("+OK\r\n", Op::Ignored),
            ("INFO {}\r\n", Op::Ignored),
            ("PINGX\r\n", Op::Ping),
            ("SUB a\r1\r\n", Op::Subscribe { subject: "a", queue: None, sid: "1" }),
        ] {
            assert_eq!(one(line.as_bytes()), Ok(Some((want, line.len()))), "{line:?}");
            for cut in 0..line.len() {
                assert_eq!(one(&line.as_bytes()[..cut]), Ok(None), "{line:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn breaches() {
        let long = vec![b'P'; 5000];
        for (bytes, want) in [
            (&b"GET / HTTP/1.1\r\n"[..], ProtocolError::UnknownOperation),
            (b"\x16\x03\x01", ProtocolError::UnknownOperation),
            (b"PUB\r\n", ProtocolError::UnknownOperation),
            (b"-ERR\r\n", ProtocolError::UnknownOperation),
            (b"INFO []\r\n", ProtocolError::Arguments),
            (b"-ERR 'x'\r\n", ProtocolError::PeerError),
            (b"PUB a\r\n", ProtocolError::Arguments),
            (b"PUB a b c 1\r\n", ProtocolError::Arguments),
            (b"PUB a -1\r\n", ProtocolError::Arguments),
            (b"HPUB a 9 3\r\n", ProtocolError::Arguments),
            (b"SUB a\r\n", ProtocolError::Arguments),
            (b"PUB a 1\r\nxyz", ProtocolError::Unterminated),
            (b"PUB a 1048577\r\n", ProtocolError::Payload),
            (&long, ProtocolError::ControlLine),
        ] {
            assert_eq!(one(bytes), Err(want), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    fn all(chunks: &[&[u8]]) -> (Vec<String>, Option<ProtocolError>) {
        let (mut parser, mut buffer, mut ops) = (Parser::default(), Vec::new(), Vec::new());
        for chunk in chunks {
            buffer.extend_from_slice(chunk);
            let mut at = 0;
            loop {
                match parser.next(&buffer[at..], &Limits { control_line: 64, payload: 32 }) {
                    Ok(Some((op, used))) => {
                        ops.push(format!("{op:?}"));
                        at += used;
                    }
                    Ok(None) => break,
                    Err(e) => return (ops, Some(e)),
                }
            }
            buffer.drain(..at);
        }
        (ops, None)
    }

    proptest! {
        #[test]
        fn splits_do_not_matter_and_nothing_panics(
            parts in proptest::collection::vec(
                prop_oneof![
                    Just(b"PING\r\n".to_vec()),
                    Just(b"PUB a.b r 5\r\nhello\r\n".to_vec()),
                    Just(b"HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n".to_vec()),
                    Just(b"SUB a.> q 12\r\n".to_vec()),
                    proptest::collection::vec(any::<u8>(), 0..6),
                ],
                0..8,
            ),
            cut in 0usize..200,
        ) {
            let bytes = parts.concat();
            let cut = cut.min(bytes.len());
            let (ops, error) = all(&[&bytes]);
            let (split_ops, split_error) = all(&[&bytes[..cut], &bytes[cut..]]);
            let shorter = ops.len().min(split_ops.len());
            prop_assert_eq!(&ops[..shorter], &split_ops[..shorter]);
            prop_assert_eq!(ops.len(), split_ops.len());
            prop_assert_eq!(error.is_some(), split_error.is_some());
        }
    }
}

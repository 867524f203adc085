//! The grammar between leaf node and hub: from a read buffer to operations that borrow from it (nats-server `parser.go`
//! and `leafnode.go`, `processLeafSub`, `processLeafMsgArgs`, `processLeafHeaderMsgArgs`), and the lines we write.
//!
//! As in the client's parser, nothing is copied, and what is remembered between calls is only how far a line end has been
//! searched for and how many bytes a begun message still needs.

use super::{Limits, ProtocolError, number};

/// Most queue groups that one message may name; more is a breach.
pub const MAX_QUEUES: usize = 64;

/// One operation between two servers on a leaf connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeafOp<'a> {
    /// `INFO {json}`
    Info(&'a [u8]),
    /// `CONNECT {json}`
    Connect(&'a [u8]),
    /// `LS+ subject [queue weight]`
    Subscribe {
        /// Not yet checked for validity.
        subject: &'a str,
        /// The queue group.
        queue: Option<&'a str>,
        /// Its members; 1 where there is no group.
        weight: u32,
    },
    /// `LS- subject [queue]`
    Unsubscribe {
        /// As it was in `LS+`.
        subject: &'a str,
        /// As it was in `LS+`.
        queue: Option<&'a str>,
    },
    /// `LMSG` and `HMSG`
    Message {
        /// Not yet checked for validity.
        subject: &'a str,
        /// Empty if there is none.
        reply: &'a str,
        /// The queue groups that the sender has chosen us for.
        queues: Vec<&'a str>,
        /// Verbatim block; empty for `LMSG`.
        headers: &'a [u8],
        /// The body.
        payload: &'a [u8],
    },
    /// `PING`
    Ping,
    /// `PONG`
    Pong,
    /// `-ERR 'text'`, without the quotes.
    Error(&'a str),
    /// `+OK`
    Ok,
}

/// The parser of one leaf connection.
#[derive(Debug, Default)]
pub struct LeafParser {
    searched: usize,
    wanted: usize,
}

impl LeafParser {
    /// The first operation in `buffer` and how many bytes it takes, or `None` if it is not whole yet.
    ///
    /// # Errors
    /// A breach of the protocol; the connection cannot go on, as the position in the stream is lost.
    pub fn next<'a>(
        &mut self,
        buffer: &'a [u8],
        limits: &Limits,
    ) -> Result<Option<(LeafOp<'a>, usize)>, ProtocolError> {
        if buffer.len() < self.wanted {
            return Ok(None);
        }
        let from = self.searched.min(buffer.len());
        let Some(end) = memchr::memchr(b'\n', &buffer[from..]).map(|at| from + at) else {
            self.searched = buffer.len();
            // The line end may have come by half.
            if buffer.strip_suffix(b"\r").unwrap_or(buffer).len() > limits.control_line {
                return Err(ProtocolError::ControlLine);
            }
            // Garbage is told from an operation by its first bytes, before it can fill the buffer.
            return if could_begin(buffer) { Ok(None) } else { Err(ProtocolError::UnknownOperation) };
        };
        let line = &buffer[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > limits.control_line {
            return Err(ProtocolError::ControlLine);
        }
        let (name, args) = match line.iter().position(|b| matches!(b, b' ' | b'\t')) {
            Some(at) => (&line[..at], line[at..].trim_ascii()),
            None => (line, &[][..]),
        };
        let op = match name {
            b"LMSG" => return self.message(buffer, end + 1, args, false, limits),
            b"HMSG" => return self.message(buffer, end + 1, args, true, limits),
            b"LS+" => match *fields(args)? {
                [subject] => LeafOp::Subscribe { subject, queue: None, weight: 1 },
                [subject, queue, weight] => {
                    let weight = number::size(weight.as_bytes()).ok_or(ProtocolError::Arguments)?;
                    let weight = u32::try_from(weight).unwrap_or(u32::MAX);
                    LeafOp::Subscribe { subject, queue: Some(queue), weight }
                }
                _ => return Err(ProtocolError::Arguments),
            },
            b"LS-" => match *fields(args)? {
                [subject] => LeafOp::Unsubscribe { subject, queue: None },
                [subject, queue] => LeafOp::Unsubscribe { subject, queue: Some(queue) },
                _ => return Err(ProtocolError::Arguments),
            },
            b"PING" => LeafOp::Ping,
            b"PONG" => LeafOp::Pong,
            b"INFO" => LeafOp::Info(args),
            b"CONNECT" => LeafOp::Connect(args),
            b"+OK" => LeafOp::Ok,
            b"-ERR" => LeafOp::Error(text(args)?.trim_matches('\'')),
            _ => return Err(ProtocolError::UnknownOperation),
        };
        self.searched = 0;
        self.wanted = 0;
        Ok(Some((op, end + 1)))
    }

    fn message<'a>(
        &mut self,
        buffer: &'a [u8],
        body: usize,
        args: &'a [u8],
        with_headers: bool,
        limits: &Limits,
    ) -> Result<Option<(LeafOp<'a>, usize)>, ProtocolError> {
        let mut fields = fields(args)?;
        let mut pop = || {
            let field = fields.pop().ok_or(ProtocolError::Arguments)?;
            number::size(field.as_bytes()).ok_or(ProtocolError::Arguments)
        };
        let total = pop()?;
        let header_len = if with_headers { pop()? } else { 0 };
        if header_len > total {
            return Err(ProtocolError::Arguments);
        }
        if total > limits.payload {
            return Err(ProtocolError::Payload);
        }
        let (subject, reply, queues) = match fields.as_slice() {
            [subject] => (*subject, "", 1),
            [subject, reply] => (*subject, *reply, 2),
            [subject, "+", reply, ..] => (*subject, *reply, 3),
            [subject, "|", ..] => (*subject, "", 2),
            _ => return Err(ProtocolError::Arguments),
        };
        let end = body + total + 2;
        if buffer.len() < end {
            self.searched = body - 1;
            self.wanted = end;
            return Ok(None);
        }
        if &buffer[end - 2..end] != b"\r\n" {
            return Err(ProtocolError::Unterminated);
        }
        let (headers, payload) = buffer[body..end - 2].split_at(header_len);
        fields.drain(..queues);
        self.searched = 0;
        self.wanted = 0;
        Ok(Some((LeafOp::Message { subject, reply, queues: fields, headers, payload }, end)))
    }

    /// How many bytes the buffer must hold before [`LeafParser::next`] can give the operation it has begun; 0 if unknown.
    pub fn wanted(&self) -> usize {
        self.wanted
    }
}

fn could_begin(buffer: &[u8]) -> bool {
    const NAMES: [&[u8]; 10] =
        [b"LMSG", b"HMSG", b"LS+", b"LS-", b"PING", b"PONG", b"INFO", b"CONNECT", b"+OK", b"-ERR"];
    NAMES.iter().any(|name| {
        let n = name.len().min(buffer.len());
        buffer[..n] == name[..n]
    })
}

fn text(field: &[u8]) -> Result<&str, ProtocolError> {
    std::str::from_utf8(field).map_err(|_| ProtocolError::Arguments)
}

fn fields(args: &[u8]) -> Result<Vec<&str>, ProtocolError> {
    let fields: Vec<&str> =
        text(args)?.split([' ', '\t', '\r']).filter(|f| !f.is_empty()).take(MAX_QUEUES + 6).collect();
    if fields.len() > MAX_QUEUES + 5 { Err(ProtocolError::Arguments) } else { Ok(fields) }
}

/// Appends `LS+`; `weight` is the number of members of the queue group on our side.
pub fn push_subscribe(out: &mut Vec<u8>, subject: &str, queue: Option<&str>, weight: u32) {
    out.extend_from_slice(b"LS+ ");
    out.extend_from_slice(subject.as_bytes());
    if let Some(queue) = queue {
        out.push(b' ');
        out.extend_from_slice(queue.as_bytes());
        out.push(b' ');
        number::push(out, weight.into());
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends `LS-`.
pub fn push_unsubscribe(out: &mut Vec<u8>, subject: &str, queue: Option<&str>) {
    out.extend_from_slice(b"LS- ");
    out.extend_from_slice(subject.as_bytes());
    if let Some(queue) = queue {
        out.push(b' ');
        out.extend_from_slice(queue.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends `LMSG`, or `HMSG` if there are headers, as nats-server's `msgHeaderForRouteOrLeaf` writes it.
pub fn push_message(out: &mut Vec<u8>, subject: &str, reply: &str, queues: &[&str], headers: &[u8], payload: &[u8]) {
    out.reserve(subject.len() + reply.len() + headers.len() + payload.len() + 40);
    out.extend_from_slice(if headers.is_empty() { b"LMSG " } else { b"HMSG " });
    out.extend_from_slice(subject.as_bytes());
    out.push(b' ');
    if !queues.is_empty() {
        out.extend_from_slice(if reply.is_empty() { b"| " } else { b"+ " });
    }
    for word in (!reply.is_empty()).then_some(reply).iter().chain(queues) {
        out.extend_from_slice(word.as_bytes());
        out.push(b' ');
    }
    if !headers.is_empty() {
        number::push(out, headers.len() as u64);
        out.push(b' ');
    }
    number::push(out, (headers.len() + payload.len()) as u64);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(headers);
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(bytes: &[u8]) -> Result<Option<(LeafOp<'_>, usize)>, ProtocolError> {
        LeafParser::default().next(bytes, &Limits::default())
    }

    #[test]
    fn lines_mean_the_same_wherever_a_read_ends() {
        let limits = Limits { control_line: 10, payload: 0 };
        for line in [&b"INFO\t{}\r\n"[..], b"PING \r\n", b"LS+ 789012\r\n", b"LS+ 7890123\r\n"] {
            let whole = LeafParser::default().next(line, &limits);
            let mut parser = LeafParser::default();
            let cut = (1..=line.len()).map(|n| parser.next(&line[..n], &limits)).find(|r| !matches!(r, Ok(None)));
            assert_eq!(cut, Some(whole), "{:?}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn interest() {
        for (line, want) in [
            ("LS+ a.>\r\n", LeafOp::Subscribe { subject: "a.>", queue: None, weight: 1 }),
            ("LS+ a q 3\r\n", LeafOp::Subscribe { subject: "a", queue: Some("q"), weight: 3 }),
            ("LS- a\r\n", LeafOp::Unsubscribe { subject: "a", queue: None }),
            ("LS- a q\r\n", LeafOp::Unsubscribe { subject: "a", queue: Some("q") }),
            ("-ERR 'Authorization Violation'\r\n", LeafOp::Error("Authorization Violation")),
            ("INFO {}\r\n", LeafOp::Info(b"{}")),
            ("PING\r\n", LeafOp::Ping),
        ] {
            assert_eq!(one(line.as_bytes()), Ok(Some((want, line.len()))), "{line}");
        }
        for bad in ["LS+ a q\r\n", "LS+\r\n", "LS+ a q x\r\n", "LS- a q 1\r\n", "HTTP/1.1 400\r\n", "\r\n"] {
            assert!(one(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn messages_read_as_they_are_written() {
        for (reply, queues, headers) in [
            ("", &[][..], &b""[..]),
            ("r", &[], b""),
            ("", &["q1", "q2"], b""),
            ("r", &["q1"], b""),
            ("", &[], b"NATS/1.0\r\n\r\n"),
            ("r", &["q1", "q2"], b"NATS/1.0\r\n\r\n"),
        ] {
            let mut out = Vec::new();
            push_message(&mut out, "s.t", reply, queues, headers, b"pay\r\nload");
            let want =
                LeafOp::Message { subject: "s.t", reply, queues: queues.to_vec(), headers, payload: b"pay\r\nload" };
            assert_eq!(one(&out), Ok(Some((want, out.len()))), "{}", String::from_utf8_lossy(&out));
        }
    }

    #[test]
    fn wrong_sizes() {
        assert_eq!(one(b"LMSG a 3\r\nabcde"), Err(ProtocolError::Unterminated));
        assert_eq!(one(b"HMSG a 4 3\r\nabc\r\n"), Err(ProtocolError::Arguments));
        assert_eq!(one(b"LMSG a 999999999\r\n"), Err(ProtocolError::Payload));
        assert_eq!(one(b"LMSG a x b 1\r\na\r\n"), Err(ProtocolError::Arguments));
        assert_eq!(one(&[b"LMSG ", &[b'a'; 5000][..]].concat()), Err(ProtocolError::ControlLine));
    }

    /// All operations of `bytes` when they arrive in pieces ending at `cuts`.
    fn in_pieces(bytes: &[u8], cuts: &[usize]) -> (Vec<String>, bool) {
        let (mut parser, mut at, mut ops) = (LeafParser::default(), 0, Vec::new());
        for end in cuts.iter().map(|c| c % (bytes.len() + 1)).chain([bytes.len()]) {
            while at <= end {
                match parser.next(&bytes[at..end], &Limits::default()) {
                    Ok(Some((op, used))) => {
                        ops.push(format!("{op:?}"));
                        at += used;
                    }
                    Ok(None) => break,
                    Err(_) => return (ops, false),
                }
            }
        }
        (ops, true)
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_parse_the_same(
            parts in prop::collection::vec(prop_oneof![
                Just(b"LMSG a.b 3\r\nxyz\r\n".to_vec()),
                Just(b"HMSG a + r q 12 14\r\nNATS/1.0\r\n\r\nhi\r\n".to_vec()),
                Just(b"LS+ a.* q 2\r\n".to_vec()),
                Just(b"PING\r\n".to_vec()),
                prop::collection::vec(any::<u8>(), 0..12),
            ], 0..8),
            mut cuts in prop::collection::vec(0usize..400, 0..6),
        ) {
            let bytes = parts.concat();
            for cut in &mut cuts {
                *cut %= bytes.len() + 1;
            }
            cuts.sort_unstable();
            prop_assert_eq!(in_pieces(&bytes, &cuts), in_pieces(&bytes, &[]));
        }
    }
}

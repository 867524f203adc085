//! Acknowledgements as clients send them: the subject that a message carried as its reply, taken apart by hand because
//! one comes for every message, and the verb in the payload (`server/consumer.go`, `processAck`, `ackReplyInfo`).

/// What an ack subject says: `$JS.ACK.<stream>.<consumer>.<delivered>.<sseq>.<cseq>.<time>.<pending>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckSubject<'a> {
    /// The stream's name.
    pub stream: &'a str,
    /// The consumer's name.
    pub consumer: &'a str,
    /// How often the message has been delivered, this delivery included.
    pub delivered: u64,
    /// The stream sequence.
    pub stream_seq: u64,
    /// The sequence of this delivery.
    pub consumer_seq: u64,
}

/// What the client says about the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb<'a> {
    /// Done with it (`+ACK`, `+OK`, or nothing).
    Ack,
    /// Not done; again after so many nanoseconds (`-NAK`, `-NAK {"delay":n}`, `-NAK 5s`).
    Nak(Option<i64>),
    /// Still at it (`+WPI`).
    Progress,
    /// Never again (`+TERM`), with the reason given.
    Term(&'a str),
    /// Done with it, and the rest is a pull request (`+NXT`).
    Next(&'a [u8]),
}

/// Takes an ack subject apart; `None` if it is not one.
pub fn parse_subject(subject: &str) -> Option<AckSubject<'_>> {
    let mut tokens = subject.strip_prefix("$JS.ACK.")?.split('.');
    let parsed = AckSubject {
        stream: tokens.next()?,
        consumer: tokens.next()?,
        delivered: number(tokens.next()?)?,
        stream_seq: number(tokens.next()?)?,
        consumer_seq: number(tokens.next()?)?,
    };
    number(tokens.next()?)?;
    number(tokens.next()?)?;
    tokens.next().is_none().then_some(parsed)
}

fn number(token: &str) -> Option<u64> {
    if token.is_empty() || token.len() > 20 {
        return None;
    }
    token.bytes().try_fold(0u64, |n, digit| match digit {
        b'0'..=b'9' => n.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// Reads the payload of an ack; `None` for what no client says, which nats-server ignores too.
pub fn parse_verb(payload: &[u8]) -> Option<Verb<'_>> {
    match payload {
        b"" | b"+ACK" | b"+OK" => Some(Verb::Ack),
        b"+WPI" => Some(Verb::Progress),
        _ => {
            if let Some(rest) = payload.strip_prefix(b"+NXT") {
                Some(Verb::Next(rest))
            } else if let Some(rest) = payload.strip_prefix(b"-NAK") {
                Some(Verb::Nak(delay(rest.trim_ascii())))
            } else {
                let reason = payload.strip_prefix(b"+TERM")?.trim_ascii();
                Some(Verb::Term(std::str::from_utf8(reason).unwrap_or_default()))
            }
        }
    }
}

/// The delay of a NAK in nanoseconds; what cannot be read counts as none, as in nats-server.
fn delay(text: &[u8]) -> Option<i64> {
    #[derive(serde::Deserialize)]
    struct Options {
        #[serde(default)]
        delay: i64,
    }
    match text.first()? {
        b'{' => serde_json::from_slice::<Options>(text).ok().map(|options| options.delay),
        _ => go_duration(std::str::from_utf8(text).ok()?),
    }
}

/// A duration as Go writes it (`1m30s`, `1.5s`, `100ms`), in nanoseconds.
pub(in crate::jetstream) fn go_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut nanos = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let scale = match &rest[..unit] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 6e10,
            "h" => 3.6e12,
            _ => return None,
        };
        nanos += value * scale;
        rest = &rest[unit..];
    }
    (nanos > 0.0 && nanos < i64::MAX as f64).then_some(if negative { -(nanos as i64) } else { nanos as i64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_taken_apart() {
        let parsed = parse_subject("$JS.ACK.ORDERS.worker.2.17.9.1700000000000000000.33").expect("valid");
        assert_eq!(
            parsed,
            AckSubject { stream: "ORDERS", consumer: "worker", delivered: 2, stream_seq: 17, consumer_seq: 9 }
        );
    }

    #[test]
    fn what_is_no_ack_subject_is_refused() {
        for bad in [
            "",
            "$JS.ACK.",
            "$JS.ACK.a.b.1.2.3.4",
            "$JS.ACK.a.b.1.2.3.4.5.6",
            "$JS.ACK.a.b.1.x.3.4.5",
            "$JS.ACK.a.b.1..3.4.5",
            "$JS.ACK.a.b.1.-2.3.4.5",
            "$JS.ACK.a.b.99999999999999999999999.2.3.4.5",
            "$JS.FC.a.b.1.2.3.4.5",
        ] {
            assert_eq!(parse_subject(bad), None, "{bad}");
        }
    }

    #[test]
    fn verbs_are_read() {
        assert_eq!(parse_verb(b""), Some(Verb::Ack));
        assert_eq!(parse_verb(b"+OK"), Some(Verb::Ack));
        assert_eq!(parse_verb(b"-NAK"), Some(Verb::Nak(None)));
        assert_eq!(parse_verb(b"-NAK {\"delay\": 2000000}"), Some(Verb::Nak(Some(2_000_000))));
        assert_eq!(parse_verb(b"-NAK 1m1.5s"), Some(Verb::Nak(Some(61_500_000_000))));
        assert_eq!(parse_verb(b"-NAK soon"), Some(Verb::Nak(None)));
        assert_eq!(parse_verb(b"+TERM no such order"), Some(Verb::Term("no such order")));
        assert_eq!(parse_verb(b"+NXT {\"batch\":2}"), Some(Verb::Next(b" {\"batch\":2}")));
        assert_eq!(parse_verb(b"hello"), None);
    }
}

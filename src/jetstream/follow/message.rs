//! What comes from an origin: a message with its place in the reply, and the header that tells a sourced message's origin.

use crate::account::OwnedMessage;
use crate::jetstream::origin::StreamSource;
use crate::protocol::headers::{self, HeadersBuilder};

/// The header of sourced messages: `<stream> <seq> <filters> <transforms> <subject>`, and what tells the
/// stream from a later one of its name, where that is known.
const HEADER: &str = "Nats-Stream-Source";

/// A message of the origin.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arrived<'a> {
    pub subject: &'a str,
    pub headers: &'a [u8],
    pub payload: &'a [u8],
    pub deliveries: u64,
    pub stream_seq: u64,
    pub consumer_seq: u64,
    /// Nanoseconds since 1970.
    pub time: i64,
    /// How many follow.
    pub pending: u64,
}

/// Takes the reply apart, in its form of nine tokens or that with domain and account.
pub(super) fn parse(message: &OwnedMessage) -> Option<Arrived<'_>> {
    let tokens: Vec<&str> = message.reply.strip_prefix("$JS.ACK.")?.split('.').collect();
    let numbers = match tokens.len() {
        7 => &tokens[2..],
        9.. => &tokens[4..],
        _ => return None,
    };
    Some(Arrived {
        subject: &message.subject,
        headers: &message.headers,
        payload: &message.payload,
        deliveries: numbers[0].parse().ok()?,
        stream_seq: numbers[1].parse().ok()?,
        consumer_seq: numbers[2].parse().ok()?,
        time: numbers[3].parse().ok()?,
        pending: numbers[4].parse().ok()?,
    })
}

/// The headers without those that were meant for the origin.
pub(super) fn kept_headers(block: &[u8], mirror: bool) -> Vec<u8> {
    let drops =
        |name: &str| name.starts_with("Nats-Expected-") || name.starts_with("Nats-Batch-") || !mirror && name == HEADER;
    if !headers::iter(block).any(|(name, _)| drops(name)) {
        return block.to_vec();
    }
    let kept = HeadersBuilder::new().copy(block, |name| !drops(name));
    if headers::iter(block).all(|(name, _)| drops(name)) { Vec::new() } else { kept.build() }
}

/// The headers with the one that tells where the message comes from; `identity` is the origin's, empty if not known.
pub(super) fn with_source(block: &[u8], source: &StreamSource, identity: &str, arrived: &Arrived<'_>) -> Vec<u8> {
    let (name, filters, transforms) = index_name(source);
    let mut value = format!("{name} {} {filters} {transforms} {}", arrived.stream_seq, arrived.subject);
    if !identity.is_empty() {
        value.push(' ');
        value.push_str(identity);
    }
    HeadersBuilder::new().copy(block, |_| true).add(HEADER, &value).build()
}

/// Name (with the API and the consumer that it is read through), filters and destinations of a source, which together tell it
/// from the stream's others (`composeIName`).
pub(in crate::jetstream) fn index_name(source: &StreamSource) -> (String, String, String) {
    let or_all = |subject: &str| if subject.is_empty() { ">".to_owned() } else { subject.to_owned() };
    let mut name = source.name.clone();
    if let Some(external) = &source.external {
        name = format!("{name}:{}", hash(&external.api));
    }
    if let Some(consumer) = &source.consumer {
        name = format!("{name}:C={}", hash(&consumer.name));
    }
    if source.subject_transforms.is_empty() {
        return (name, or_all(&source.filter_subject), ">".to_owned());
    }
    let join = |part: fn(&crate::jetstream::config::SubjectTransform) -> &str| {
        source.subject_transforms.iter().map(|t| or_all(part(t))).collect::<Vec<_>>().join("\u{c}")
    };
    (name, join(|t| &t.source), join(|t| &t.destination))
}

/// Eight characters that stand for a text (nats-server's `getHash`).
pub(super) fn hash(text: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().take(8).map(|byte| char::from(DIGITS[usize::from(byte % 62)])).collect()
}

/// The sequence at the origin that a stored message's header tells, if it came from `source`.
pub(in crate::jetstream) fn source_header(block: &[u8], source: &StreamSource) -> Option<u64> {
    let fields: Vec<&str> = headers::get(block, HEADER)?.split(' ').collect();
    let (name, filters, transforms) = index_name(source);
    let [stream, seq, theirs @ ..] = fields.as_slice() else { return None };
    let same = *stream == name && theirs.len() >= 2 && theirs[0] == filters && theirs[1] == transforms;
    same.then(|| seq.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(subject: &str, reply: &str) -> OwnedMessage {
        OwnedMessage { subject: subject.into(), reply: reply.into(), ..OwnedMessage::default() }
    }

    #[test]
    fn both_forms_of_the_reply_are_read() {
        for (subject, reply) in [
            ("a.b", "$JS.ACK.S.C.1.7.3.99.5"),
            ("a.b", "$JS.ACK.hub.hash.S.C.1.7.3.99.5.random"),
            ("a.b", "$JS.ACK.S@x.C@y.1.7.3.99.5"),
        ] {
            let message = message(subject, reply);
            let found = parse(&message).expect(reply);
            assert_eq!((found.subject, found.stream_seq, found.consumer_seq), ("a.b", 7, 3), "{reply}");
            assert_eq!((found.deliveries, found.time, found.pending), (1, 99, 5));
        }
        assert_eq!(parse(&message("a", "_INBOX.x")), None);
    }

    #[test]
    fn a_source_knows_its_own_messages() {
        let source = StreamSource { name: "O".into(), filter_subject: "a.*".into(), ..StreamSource::default() };
        let other = StreamSource { name: "O".into(), ..StreamSource::default() };
        let arrived = message("a.b", "$JS.ACK.O.C.1.7.3.99.5");
        let block = with_source(b"NATS/1.0\r\nX: y\r\n\r\n", &source, "", &parse(&arrived).expect("an ack"));
        assert_eq!(headers::get(&block, HEADER), Some("O 7 a.* > a.b"));
        let known = with_source(b"NATS/1.0\r\n\r\n", &source, "i", &parse(&arrived).expect("an ack"));
        assert_eq!((headers::get(&known, HEADER), source_header(&known, &source)), (Some("O 7 a.* > a.b i"), Some(7)));
        assert_eq!((source_header(&block, &source), source_header(&block, &other)), (Some(7), None));
        assert_eq!(kept_headers(&block, false), b"NATS/1.0\r\nX: y\r\n\r\n");
    }
}

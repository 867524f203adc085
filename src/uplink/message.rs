//! How a stored message looks on its way to the hub: its id, the headers it gains, and those it must not take along.

use super::machine::{Guard, Order};
use super::order::{Plan, Stretch, Way};
use crate::protocol::headers::HeadersBuilder;
use std::sync::Arc;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const MSG_ID: &str = "Nats-Msg-Id";
/// The id that the publisher itself had given.
const ORIGIN_MSG_ID: &str = "Leafd-Origin-Msg-Id";
/// When the message was stored here.
const TIME: &str = "Leafd-Time";
/// The publisher's own expectations were about the local stream.
const EXPECTED: &str = "Nats-Expected-";
/// So was the batch in which it came.
const BATCH: &str = "Nats-Batch-";

/// Makes and recognises the message ids of one uplink: `<gateway>:<stream>:<epoch>:<seq>`, with `@<place>` behind it where a
/// message's place in line is not its local sequence.
#[derive(Clone, Debug)]
pub struct Ids {
    prefix: String,
    plan: Arc<Plan>,
}

impl Ids {
    /// Ids of `stream` at `gateway`. `epoch` changes when the stream is made anew, `generation` when its sequence
    /// numbers start to be used a second time.
    pub fn new(gateway: &str, stream: &str, epoch: &str, generation: u32) -> Self {
        let generation = if generation == 0 { String::new() } else { format!(".{generation}") };
        Ids { prefix: format!("{gateway}:{stream}:{epoch}{generation}:"), plan: Arc::default() }
    }

    /// The same with the places of `plan`.
    pub fn in_order(self, plan: Arc<Plan>) -> Ids {
        Ids { plan, ..self }
    }

    /// The id of the declaration of a gap.
    pub fn gap(&self, first: u64, last: u64) -> String {
        format!("{}gap-{first}-{last}", self.prefix)
    }

    /// The id of an atomic batch, at most 64 bytes: `nonce` tells this process from earlier ones.
    pub fn batch(nonce: u64, run: u64, first: u64) -> String {
        format!("{nonce:x}.{run:x}.{first:x}")
    }

    /// The id of the message at `place`.
    pub fn id(&self, place: u64) -> String {
        match self.plan.at(place) {
            Stretch { way: Way::Own, seq, .. } => format!("{}{seq}", self.prefix),
            Stretch { seq, .. } => format!("{}{seq}@{place}", self.prefix),
        }
    }

    /// The place of the message with this id, if it is one of ours.
    pub fn place(&self, id: &str) -> Option<u64> {
        let number = id.strip_prefix(&self.prefix)?;
        match number.split_once('@') {
            Some((seq, place)) => self.plan.place(seq.parse().ok()?, Some(place.parse().ok()?)),
            None => self.plan.place(number.parse().ok()?, None),
        }
    }
}

/// The header block to send: the stored one with our id, its time and the guard. `position` is that of the subject's last
/// message at the hub, for [`Guard::Position`]; `nonce` is for the ids of batches.
pub fn outgoing(stored: &[u8], ids: &Ids, order: &Order, time: i64, position: Option<u64>, nonce: u64) -> Vec<u8> {
    let Order { seq, run, guard, batch } = *order;
    let mut builder = HeadersBuilder::new()
        .copy(stored, |name| name != MSG_ID && name != TIME && !name.starts_with(EXPECTED) && !name.starts_with(BATCH));
    if let Some(origin) = crate::protocol::headers::get(stored, MSG_ID) {
        builder = builder.add(ORIGIN_MSG_ID, origin);
    }
    builder = builder.add(MSG_ID, &ids.id(seq)).add(TIME, &rfc3339(time));
    if let Some(place) = batch {
        builder = builder
            .add("Nats-Batch-Id", &Ids::batch(nonce, run, place.first))
            .add("Nats-Batch-Sequence", &place.at.to_string());
        if place.commit {
            builder = builder.add("Nats-Batch-Commit", "1");
        }
    }
    match (guard, position) {
        (Guard::After(previous), _) => builder.add("Nats-Expected-Last-Msg-Id", &ids.id(previous)),
        (Guard::Position, Some(position)) => builder.add("Nats-Expected-Last-Subject-Sequence", &position.to_string()),
        (Guard::Position, None) | (Guard::Window, _) => builder,
    }
    .build()
}

/// The header block of a dead letter: the stored one, where it was to go, and why it did not.
pub fn dead_letter(stored: &[u8], ids: &Ids, seq: u64, time: i64, subject: &str, reason: &str) -> Vec<u8> {
    HeadersBuilder::new()
        .copy(stored, |name| name != MSG_ID && !name.starts_with("Leafd-Dead-") && !name.starts_with(EXPECTED))
        .add(MSG_ID, &ids.id(seq))
        .add(TIME, &rfc3339(time))
        .add("Leafd-Dead-Subject", subject)
        .add("Leafd-Dead-Reason", reason)
        .build()
}

/// UNIX nanoseconds as RFC 3339; the epoch where the number is no date.
fn rfc3339(time: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(time))
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::machine::Place;
    use super::*;
    use crate::protocol::headers;

    #[test]
    fn ids_are_recognised_only_by_their_owner() {
        let ids = Ids::new("gw1", "UPLINK_t", "e1", 0);
        assert_eq!(ids.id(7), "gw1:UPLINK_t:e1:7");
        assert_eq!(ids.place("gw1:UPLINK_t:e1:7"), Some(7));
        assert_eq!(ids.place("gw1:UPLINK_t:e1.1:7"), None);
        assert_eq!(Ids::new("gw1", "UPLINK_t", "e1", 1).place("gw1:UPLINK_t:e1.1:7"), Some(7));
        assert_eq!(ids.place("gw2:UPLINK_t:e1:7"), None);
        assert_eq!(ids.place("gw1:UPLINK_t:e1:x"), None);
    }

    #[test]
    fn the_publishers_headers_travel_and_its_expectations_do_not() {
        let stored = HeadersBuilder::new()
            .add("Nats-Msg-Id", "mine")
            .add("Nats-Expected-Last-Sequence", "4")
            .add("Unit", "bar")
            .build();
        let ids = Ids::new("gw1", "UPLINK_t", "e1", 0);
        let order = |guard, batch| Order { seq: 7, run: 2, guard, batch };
        let sent = outgoing(&stored, &ids, &order(Guard::After(5), None), 1_700_000_000_123_456_789, None, 1);
        assert_eq!(headers::get(&sent, "Nats-Msg-Id"), Some("gw1:UPLINK_t:e1:7"));
        assert_eq!(headers::get(&sent, "Leafd-Origin-Msg-Id"), Some("mine"));
        assert_eq!(headers::get(&sent, "Leafd-Time"), Some("2023-11-14T22:13:20.123456789Z"));
        assert_eq!(headers::get(&sent, "Nats-Expected-Last-Msg-Id"), Some("gw1:UPLINK_t:e1:5"));
        assert_eq!(headers::get(&sent, "Nats-Expected-Last-Sequence"), None);
        assert_eq!(headers::get(&sent, "Unit"), Some("bar"));
        let place = Some(Place { first: 6, at: 2, commit: true });
        let sent = outgoing(b"", &ids, &order(Guard::Position, place), 0, Some(12), 0xab);
        assert_eq!(headers::get(&sent, "Nats-Expected-Last-Subject-Sequence"), Some("12"));
        assert_eq!(headers::get(&sent, "Nats-Batch-Id"), Some("ab.2.6"));
        assert_eq!(
            (headers::get(&sent, "Nats-Batch-Sequence"), headers::get(&sent, "Nats-Batch-Commit")),
            (Some("2"), Some("1"))
        );
        let sent = outgoing(&sent, &ids, &order(Guard::Window, None), 0, Some(12), 0);
        assert_eq!(
            (headers::get(&sent, "Nats-Msg-Id"), headers::get(&sent, "Nats-Batch-Id")),
            (Some(&*ids.id(7)), None)
        );
    }

    #[test]
    fn a_dead_letter_tells_where_it_was_to_go_and_why() {
        let ids = Ids::new("gw1", "UPLINK_t", "e1", 0);
        let block = dead_letter(b"NATS/1.0\r\nUnit: bar\r\n\r\n", &ids, 9, 0, "a.b", "message size\nexceeds");
        assert_eq!(headers::get(&block, "Leafd-Dead-Subject"), Some("a.b"));
        assert_eq!(headers::get(&block, "Leafd-Dead-Reason"), Some("message size exceeds"));
        assert_eq!(headers::get(&block, "Unit"), Some("bar"));
    }
}

//! The cursor as it is kept in the state log, with what was learnt of the hub's stream.

use super::ask::HubStream;
use super::machine::Cursor;
use super::traffic::Spent;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Saved {
    epoch: String,
    confirmed: u64,
    held: u64,
    held_position: u64,
    #[serde(default)]
    generation: u32,
    hub_stream: Option<String>,
    hub_domain: Option<String>,
    #[serde(default)]
    spent: Spent,
}

/// Encodes a cursor of the local stream's `epoch`, with the bytes `spent`.
pub fn encode(epoch: &str, cursor: Cursor, hub: &HubStream, spent: Spent) -> Bytes {
    let saved = Saved {
        epoch: epoch.to_owned(),
        confirmed: cursor.confirmed,
        held: cursor.held,
        held_position: cursor.held_position,
        generation: cursor.generation,
        hub_stream: hub.stream.clone(),
        hub_domain: hub.domain.clone(),
        spent,
    };
    serde_json::to_vec(&saved).unwrap_or_default().into()
}

/// Decodes a saved cursor. That of another epoch counts another stream's sequences: only what it knows of the hub
/// and of the bytes spent is still worth something. What cannot be read counts as nothing; the hub then tells where it stands.
pub fn decode(saved: Option<Bytes>, epoch: &str) -> (Cursor, HubStream, Spent) {
    let Some(saved) = saved.and_then(|saved| serde_json::from_slice::<Saved>(&saved).ok()) else {
        return Default::default();
    };
    let hub = HubStream { stream: saved.hub_stream, domain: saved.hub_domain };
    if saved.epoch != epoch {
        return (Cursor::default(), hub, saved.spent);
    }
    let Saved { confirmed, held, held_position, generation, spent, .. } = saved;
    (Cursor { confirmed, held, held_position, generation }, hub, spent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_worth_something_only_in_its_own_epoch() {
        let cursor = Cursor { confirmed: 9, held: 8, held_position: 70, generation: 1 };
        let hub = HubStream { stream: Some("T".into()), domain: None };
        let spent = Spent { day: 3, day_bytes: 4, month: 5, month_bytes: 6 };
        let saved = encode("e1", cursor, &hub, spent);
        assert_eq!(decode(Some(saved.clone()), "e1"), (cursor, hub.clone(), spent));
        assert_eq!(decode(Some(saved), "e2"), (Cursor::default(), hub, spent));
        assert_eq!(decode(Some(Bytes::from_static(b"{")), "e1"), Default::default());
        assert_eq!(decode(None, "e1"), Default::default());
    }
}

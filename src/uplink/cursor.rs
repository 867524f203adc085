//! The cursor as it is kept in the state log, with what was learnt of the hub's stream.

use super::ask::HubStream;
use super::gaps::Gaps;
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
    #[serde(default)]
    told: bool,
    hub_stream: Option<String>,
    hub_domain: Option<String>,
    #[serde(default)]
    spent: Spent,
    #[serde(default)]
    gaps: Gaps,
}

/// What an uplink keeps on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Where it stands.
    pub cursor: Cursor,
    /// What was learnt of the hub's stream.
    pub hub: HubStream,
    /// The bytes that it has sent.
    pub spent: Spent,
    /// Gaps that are not declared yet.
    pub gaps: Gaps,
}

/// Encodes what is kept of the local stream's `epoch`.
pub fn encode(epoch: &str, kept: &Kept) -> Bytes {
    let Kept { cursor, hub, spent, gaps } = kept;
    let saved = Saved {
        epoch: epoch.to_owned(),
        confirmed: cursor.confirmed,
        held: cursor.held,
        held_position: cursor.held_position,
        generation: cursor.generation,
        told: cursor.told,
        hub_stream: hub.stream.clone(),
        hub_domain: hub.domain.clone(),
        spent: *spent,
        gaps: gaps.clone(),
    };
    serde_json::to_vec(&saved).unwrap_or_default().into()
}

/// Decodes what was kept. That of another epoch counts another stream's sequences: only what it knows of the hub and of the
/// bytes spent is still worth something. What cannot be read counts as nothing; the hub then tells where it stands.
pub fn decode(saved: Option<Bytes>, epoch: &str) -> Kept {
    let Some(saved) = saved.and_then(|saved| serde_json::from_slice::<Saved>(&saved).ok()) else {
        return Kept::default();
    };
    let hub = HubStream { stream: saved.hub_stream, domain: saved.hub_domain };
    if saved.epoch != epoch {
        let cursor = Cursor { told: saved.told, ..Cursor::default() };
        return Kept { cursor, hub, spent: saved.spent, ..Kept::default() };
    }
    let Saved { confirmed, held, held_position, generation, told, spent, gaps, .. } = saved;
    Kept { cursor: Cursor { confirmed, held, held_position, generation, told }, hub, spent, gaps }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_cursor_is_worth_something_only_in_its_own_epoch() {
        let cursor = Cursor { confirmed: 9, held: 8, held_position: 70, generation: 1, told: true };
        let hub = HubStream { stream: Some("T".into()), domain: None };
        let spent = Spent { day: 3, day_bytes: 4, month: 5, month_bytes: 6 };
        let mut gaps = Gaps::default();
        gaps.add(Duration::ZERO, 4, (3, 4), false, false);
        let kept = Kept { cursor, hub: hub.clone(), spent, gaps };
        let saved = encode("e1", &kept);
        assert_eq!(decode(Some(saved.clone()), "e1"), kept);
        let cursor = Cursor { told: true, ..Cursor::default() };
        assert_eq!(decode(Some(saved), "e2"), Kept { cursor, hub, spent, ..Kept::default() });
        assert_eq!(decode(Some(Bytes::from_static(b"{")), "e1"), Kept::default());
        assert_eq!(decode(None, "e1"), Kept::default());
    }
}

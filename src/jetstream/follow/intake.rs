//! The stream's side of following: its followers, where they go on, and taking in what they bring.

use super::{Follower, SourceInfo, source_header};
use crate::account::Message;
use crate::jetstream::desk::Verdict;
use crate::jetstream::error::ApiError;
use crate::jetstream::origin::StreamSource;
use crate::jetstream::stream::Stream;
use crate::store::StoreError;
use std::sync::Arc;

/// Those who bring messages from elsewhere.
#[derive(Default)]
pub(in crate::jetstream) struct Followers {
    mirror: Option<Follower>,
    sources: Vec<Follower>,
}

impl Stream {
    /// Follows the origins of the configuration from now on, and no others; within a runtime.
    pub(in crate::jetstream) fn follow(self: &Arc<Self>) {
        let config = self.config();
        let mut followers = self.followers();
        // The old ones end before the new ones begin.
        *followers = Followers::default();
        followers.mirror = config.mirror.as_ref().map(|origin| Follower::start(self, origin, true));
        followers.sources = config.sources.iter().map(|origin| Follower::start(self, origin, false)).collect();
    }

    /// Follows nobody any more.
    pub(in crate::jetstream) fn follow_nobody(&self) {
        *self.followers() = Followers::default();
    }

    /// What is known of the mirror's origin.
    pub fn mirror_info(&self) -> Option<SourceInfo> {
        self.followers().mirror.as_ref().map(Follower::info)
    }

    /// Whether the mirror has once had nearly all that its origin holds.
    pub(in crate::jetstream) fn has_caught_up(&self) -> bool {
        self.followers().mirror.as_ref().is_some_and(Follower::has_caught_up)
    }

    /// What is known of the sources.
    pub fn sources_info(&self) -> Vec<SourceInfo> {
        self.followers().sources.iter().map(Follower::info).collect()
    }

    /// From which sequence of the origin on something is missing here. For a source the log is read backwards to the last
    /// message that came from there.
    pub(super) fn resume_from(&self, source: &StreamSource, mirror: bool) -> Result<u64, StoreError> {
        let state = self.log().state();
        if mirror {
            return Ok(state.last_seq + 1);
        }
        for seq in (state.first_seq..=state.last_seq).rev() {
            let Some(stored) = self.log().read_sound(seq)? else { continue };
            if let Some(seq) = source_header(&stored.headers, source) {
                return Ok(seq + 1);
            }
        }
        Ok(1)
    }

    /// Stores a message of the mirror's origin under its own sequence and time.
    pub(super) fn take_mirrored(&self, seq: u64, time: i64, message: &Message<'_>) -> Result<(), ApiError> {
        outcome(self.take_in(|desk, around, failed| desk.publish_mirrored((seq, time), message, around, failed)))
    }

    /// Stores a message of a source.
    pub(super) fn take_sourced(&self, message: &Message<'_>) -> Result<(), ApiError> {
        outcome(self.take_in(|desk, around, failed| desk.publish_sourced(message, around, failed)))
    }
}

fn outcome(verdict: Option<Verdict>) -> Result<(), ApiError> {
    match verdict {
        Some(Verdict::Refused(error)) => Err(error),
        Some(Verdict::Waits | Verdict::Acked(..) | Verdict::InHand) => Ok(()),
        None => Err(ApiError::stream_not_found()),
    }
}

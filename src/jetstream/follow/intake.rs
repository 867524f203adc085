//! The stream's side of following: its followers, where they go on, and taking in what they bring.

use super::{Follower, SourceInfo, SyncStatus};
use crate::account::Message;
use crate::jetstream::desk::Verdict;
use crate::jetstream::error::ApiError;
use crate::jetstream::stream::Stream;
use std::sync::Arc;

/// Those who bring messages from elsewhere.
#[derive(Default)]
pub(in crate::jetstream) struct Followers {
    mirror: Option<Follower>,
    sources: Vec<Follower>,
}

impl Followers {
    /// Those of sources that are read through a consumer made for that: others have their position at the origin.
    pub(super) fn sources(&self) -> impl Iterator<Item = &Follower> {
        self.sources.iter().filter(|source| source.origin.source.consumer.is_none())
    }
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

    /// Follows nobody any more, for good if the stream is deleted. Blocks.
    pub(in crate::jetstream) fn follow_nobody(&self, deleted: bool) {
        if !deleted && let Err(error) = self.keep_positions() {
            tracing::warn!(%error, stream = self.name(), "how far the sources were read could not be kept");
        }
        *self.followers() = Followers::default();
    }

    /// What is known of the mirror's origin.
    pub fn mirror_info(&self) -> Option<SourceInfo> {
        self.followers().mirror.as_ref().map(Follower::info)
    }

    /// The sequence before the first that may come into the mirror; 0 if that is not known.
    pub(in crate::jetstream) fn begins_behind(&self) -> u64 {
        self.followers().mirror.as_ref().map_or(0, Follower::behind)
    }

    /// Whether the mirror has once had nearly all that its origin holds.
    pub(in crate::jetstream) fn has_caught_up(&self) -> bool {
        self.followers().mirror.as_ref().is_some_and(Follower::has_caught_up)
    }

    /// What is known of the sources.
    pub fn sources_info(&self) -> Vec<SourceInfo> {
        self.followers().sources.iter().map(Follower::info).collect()
    }

    /// How the mirror and the sources stand with their origins.
    pub fn sync(&self) -> Vec<SyncStatus> {
        let followers = self.followers();
        followers.mirror.iter().chain(&followers.sources).map(Follower::sync).collect()
    }

    /// Stores a message of the mirror's origin under its own sequence and time.
    pub(super) fn take_mirrored(
        &self,
        in_turn: u64,
        (seq, time): (u64, i64),
        message: &Message<'_>,
    ) -> Result<u64, ApiError> {
        let taken =
            self.take_in(|desk, around, failed| desk.publish_mirrored((seq, time), in_turn, message, around, failed));
        outcome(taken).map(|()| seq)
    }

    /// Stores a message of a source; gives its sequence, or that of the last message if it was here before.
    pub(super) fn take_sourced(&self, in_turn: u64, message: &Message<'_>) -> Result<u64, ApiError> {
        let mut last = 0;
        let taken = self.take_in(|desk, around, failed| {
            let verdict = desk.publish_sourced(in_turn, message, around, failed);
            last = desk.last_seq;
            verdict
        });
        outcome(taken).map(|()| last)
    }
}

fn outcome(verdict: Option<Verdict>) -> Result<(), ApiError> {
    match verdict {
        Some(Verdict::Refused(error) | Verdict::Full(error)) => Err(error),
        Some(Verdict::Waits | Verdict::Acked(..) | Verdict::InHand) => Ok(()),
        None => Err(ApiError::stream_not_found()),
    }
}

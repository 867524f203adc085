//! Publishes that find a stream full whose messages leave as they are acknowledged. nats-server lets a message go as its ack
//! comes; here the ack must be on disk before, so that a stream may be full of messages that are as good as gone. Who finds it so
//! waits until they are.

use super::Stream;
use crate::account::{Batch, Message, OwnedMessage};
use crate::jetstream::desk::Verdict;
use crate::jetstream::error::ApiError;
use std::collections::VecDeque;

/// Publishes that may wait at a time for a stream to have room; more are refused at once.
const MAX_WAITING: usize = 1024;
/// Bytes of these.
const MAX_BYTES: usize = 4 << 20;

/// Publishes that wait for room, in their order.
#[derive(Default)]
pub(in crate::jetstream) struct Line {
    messages: VecDeque<OwnedMessage>,
    bytes: usize,
}

/// What a message counts.
fn size(message: &Message<'_>) -> usize {
    message.size() + message.subject.len() + message.reply.len()
}

impl Line {
    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// A publish waits too, behind those who do; it is refused if they are too many.
    pub fn join(&mut self, message: &Message<'_>) -> Verdict {
        if self.messages.len() >= MAX_WAITING || self.bytes + size(message) > MAX_BYTES {
            return Verdict::Refused(ApiError::new(429, 10167, "too many requests"));
        }
        self.bytes += size(message);
        self.messages.push_back(message.to_owned());
        Verdict::Waits
    }

    fn leave(&mut self) -> Option<OwnedMessage> {
        let message = self.messages.pop_front()?;
        self.bytes -= size(&message.borrow());
        Some(message)
    }

    fn stay(&mut self, message: OwnedMessage) {
        self.bytes += size(&message.borrow());
        self.messages.push_front(message);
    }
}

impl Stream {
    /// Has a publish wait that found the stream full.
    pub(super) fn wait_for_room(&self, message: &Message<'_>) -> Verdict {
        let mut desk = self.desk();
        let first = desk.line.is_empty();
        let verdict = desk.line.join(message);
        let waits = !desk.line.is_empty();
        drop(desk);
        if first && waits {
            self.look_for_room();
        }
        verdict
    }

    /// Those who wait are taken in, or refused, when what is acknowledged by now has gone.
    fn look_for_room(&self) {
        loop {
            let covered = self.desk().line.messages.len();
            match self.consumers.letting_go() {
                Some(ended) => {
                    let stream = self.me.clone();
                    self.shared.runtime.spawn(async move {
                        // An error is that there are no more rounds: what is acknowledged has gone.
                        let _ = ended.await;
                        if let Some(stream) = stream.upgrade()
                            && stream.let_in(covered)
                        {
                            stream.look_for_room();
                        }
                    });
                    return;
                }
                // What was under way may have ended just now.
                None if !self.let_in(covered) => return,
                None => {}
            }
        }
    }

    /// Takes in those who wait as long as there is room. The first `covered` have seen go what was acknowledged before them: for these
    /// there is none if there is none now. Returns whether others go on waiting.
    fn let_in(&self, mut covered: usize) -> bool {
        let mut batch = Batch::default();
        let (mut waits, mut mute) = (true, false);
        while waits {
            let mut message = None;
            let verdict = self.take_in(|desk, around, failed| {
                let Some(next) = desk.line.leave() else { return Verdict::Waits };
                let verdict = match desk.publish(&next.borrow(), around, failed) {
                    Verdict::Full(_) if covered == 0 => {
                        desk.line.stay(next);
                        return Verdict::Waits;
                    }
                    Verdict::Full(error) => Verdict::Refused(error),
                    verdict => verdict,
                };
                (waits, mute) = (!desk.line.is_empty(), desk.config.no_ack);
                message = Some(next);
                verdict
            });
            // A stream that takes no more answers nobody.
            let Some(verdict) = verdict else { break };
            let Some(message) = message else {
                batch.flush();
                // The next one waits for another round, unless none was left.
                return !self.desk().line.is_empty();
            };
            covered = covered.saturating_sub(1);
            self.tell(verdict, if mute { "" } else { &message.reply }, &mut batch);
        }
        batch.flush();
        false
    }

    /// The stream is gone: so is what those have waited for who still do.
    pub(super) fn refuse_those_who_wait(&self) {
        let line = std::mem::take(&mut self.desk().line);
        let mut batch = Batch::default();
        for message in line.messages {
            self.tell(Verdict::Refused(ApiError::stream_not_found()), &message.reply, &mut batch);
        }
        batch.flush();
    }
}

//! What comes back: answers of the hub, and results of the jobs.

use super::super::answer::{self, AtHub};
use super::super::ask::{PositionAnswer, Surveyed};
use super::super::machine::{AckResult, Event, HubAnswer};
use super::{Done, Worker};
use crate::account::OwnedMessage;

impl Worker {
    /// A message came to the inbox: `<prefix>.q.<id>` answers a question, `<prefix>.<run>.<seq>` a message.
    pub(super) fn incoming(&mut self, message: OwnedMessage) {
        let Some(tail) = message.subject.strip_prefix(&*self.inbox_prefix).and_then(|tail| tail.strip_prefix('.'))
        else {
            return;
        };
        let Some((run, seq)) = tail.split_once('.') else { return };
        let Ok(seq) = seq.parse::<u64>() else { return };
        self.member.received(super::send::wire_bytes(&message.borrow()));
        if run == "q" {
            return self.questions.answered(seq, message);
        }
        let Ok(run) = run.parse::<u64>() else { return };
        if run == self.flying {
            self.member.answered(seq);
        }
        let ack = answer::ack(&message, &self.ids);
        if let Some(words) = ack.refusal
            && !matches!(ack.result, AckResult::Moved(_) | AckResult::Unbatched { never: true })
        {
            self.refused(words);
        }
        if let AckResult::Stored { position, .. } = ack.result
            && self.machine.accepts(run)
        {
            self.positions.stored(seq, position, ack.count);
            self.refusal = None;
            if let Some((stream, domain)) = ack.stream {
                self.learn(stream, domain);
            }
            self.last_ack = self.last_ack.max(seq);
        }
        self.feed(Event::Ack { run, seq, result: ack.result });
    }

    /// The hub has told which stream took the message.
    fn learn(&mut self, stream: String, domain: Option<String>) {
        if self.hub.stream.as_ref() != Some(&stream) {
            if let Some(expected) = &self.hub.stream {
                tracing::warn!(
                    "uplink {}: the hub stores our messages in stream {stream}, not in {expected}; check hub_stream",
                    self.options.name
                );
            }
            self.hub.stream = Some(stream);
        }
        if self.hub.domain.is_none() && domain.is_some() {
            self.hub.domain = domain;
        }
    }

    pub(super) fn refused(&mut self, words: String) {
        if self.refusal.as_ref() != Some(&words) {
            tracing::warn!("uplink {}: {words}", self.options.name);
            self.refusal = Some(words);
        }
    }

    pub(super) fn done(&mut self, done: Done) {
        match done {
            Done::Trimmed => {}
            Done::Planned(saved) => {
                self.planner.saved(saved);
                self.ids = self.ids.clone().in_order(self.planner.plan().clone());
            }
            Done::Event(Event::Saved(cursor)) => {
                self.feed(Event::Saved(cursor));
                self.held_on_disk = cursor.held;
            }
            Done::Event(event) => self.feed(event),
            Done::Declared { gap, result } => {
                self.declaring = false;
                match result {
                    Ok(()) => {
                        self.gaps_declared += 1;
                        self.gaps.declared(&gap);
                        self.feed(Event::Unsaved);
                    }
                    Err(error) => {
                        tracing::warn!("uplink {}: cannot declare a gap: {error}", self.options.name);
                        self.gaps.put_off(self.now());
                    }
                }
            }
            Done::Thinned { thinning, result } => {
                self.thinning = Some(thinning);
                match result {
                    Ok(dropped) => self.thinned += dropped,
                    Err(error) => self.refused(format!("cannot thin the local stream: {error}")),
                }
            }
            Done::Read(Ok(chunk)) => {
                self.reading = false;
                self.chunk = chunk;
                if let Some((run, seq)) = self.unread_position.take() {
                    self.position(run, seq);
                }
            }
            Done::Read(Err(error)) => {
                self.reading = false;
                self.unread_position = None;
                self.refused(format!("cannot read the local stream: {error}"));
                self.feed(Event::Blocked);
            }
            // Silence: the machine asks again in its own time.
            Done::Surveyed { surveyed: None, .. } | Done::Positioned { answer: None, .. } => {}
            Done::Surveyed { run, surveyed: Some(Surveyed { answer, stream, refusal, last }) } => {
                if let Some(words) = refusal {
                    self.refused(words);
                }
                if let Some(stream) = stream {
                    self.hub.stream.get_or_insert(stream);
                }
                if answer == HubAnswer::Unknown {
                    tracing::debug!("uplink {}: the hub does not tell where it stands", self.options.name);
                }
                if run == self.machine.run() && matches!(answer, HubAnswer::Held { .. }) {
                    self.positions.surveyed(last);
                }
                self.feed(Event::Answer { run, answer });
            }
            Done::Positioned { run, seq, answer: Some(PositionAnswer::Last(last)), subject } => {
                if self.machine.awaits_position(run, seq) {
                    self.positions.learn(subject, last.as_ref().map_or(0, |last| last.position));
                }
                let last = last.and_then(|AtHub { position, seq, .. }| Some((seq?, position)));
                self.feed(Event::Position { run, seq, last });
            }
            Done::Positioned { run, seq, answer: Some(PositionAnswer::Refused(words)), .. } => {
                self.refused(words);
                if self.machine.awaits_position(run, seq) {
                    self.feed(Event::Blocked);
                }
            }
        }
    }
}

//! From the local stream to the link: reading, and sending what the machine orders.

use super::super::link::SendError;
use super::super::local::LocalMessage;
use super::super::machine::{Event, Order};
use super::super::message;
use super::{Found, Worker};
use crate::account::Message;
use tokio::time::Instant;

/// Bytes that may wait in the link before the uplink stops adding to them, so that the link's PONG never waits long.
const PACE_BYTES: usize = 64 * 1024;
/// Bytes without an answer after which the hub is to say that it is there, so that a slow link is not taken for a dead one.
const ANSWER_BYTES: u64 = 16 * 1024;
/// The part of the messages that may be on their way which go without an answer between two that have one.
const UNANSWERED: usize = 8;

/// About what a message takes on the wire, without compression, TLS and below.
pub(super) fn wire_bytes(message: &Message<'_>) -> u64 {
    /// `LMSG`, blanks, sizes and line ends.
    const FRAME: usize = 20;
    (message.size() + message.subject.len() + message.reply.len() + FRAME) as u64
}

impl Worker {
    /// Sends what the machine orders while the link takes it.
    pub(super) fn fill(&mut self) {
        self.held = None;
        self.member.volumes(self.link.volumes());
        while let Some(order) = self.machine.next_order(self.now()) {
            if self.link.backlog_bytes() > PACE_BYTES {
                self.blocked = true;
                return;
            }
            match self.find(order.seq) {
                Found::Missing(missing) => self.gap(order.seq, missing),
                Found::Unknown => return self.read(order.seq),
                Found::Here(message) => {
                    if let Err(held) = self.member.admit() {
                        self.held = Some((held, Instant::now() + held.again()));
                        return self.feed(Event::Held);
                    }
                    if !self.send(order, &message) {
                        return;
                    }
                }
            }
        }
        self.member.idle();
    }

    /// Sends one message. `false` if no more can be sent now.
    fn send(&mut self, order: Order, stored: &LocalMessage) -> bool {
        let position = self.positions.get(&stored.subject);
        let headers = message::outgoing(&stored.headers, &self.ids, &order, stored.time, position, self.nonce);
        let mut message = Message { subject: &stored.subject, reply: "", headers: &headers, payload: &stored.payload };
        let reply = self.wants_reply(&order, wire_bytes(&message));
        let reply = if reply { format!("{}.{}.{}", self.inbox_prefix, order.run, order.seq) } else { String::new() };
        message.reply = &reply;
        match self.link.publish(&message) {
            Ok(()) => {
                self.positions.sent(order.seq, stored.subject.clone());
                let bytes = self.member.sent(order.seq, wire_bytes(&message));
                self.feed(Event::Sent { seq: order.seq, bytes });
                true
            }
            Err(SendError::TooLarge) => {
                let reason = format!("{} ({} bytes with headers)", SendError::TooLarge, message.size());
                self.feed(Event::Unsendable { seq: order.seq, reason });
                false
            }
            Err(SendError::NotAllowed) => {
                self.refused(format!("{}: {}", stored.subject, SendError::NotAllowed));
                self.feed(Event::Blocked);
                false
            }
            Err(SendError::Down | SendError::Full) => {
                self.blocked = true;
                false
            }
        }
    }

    /// Whether the hub is to answer to the message: always, except for most of those in a batch or in a chain that runs well.
    fn wants_reply(&mut self, order: &Order, bytes: u64) -> bool {
        self.unanswered.0 += bytes;
        self.unanswered.1 += 1;
        let silent = match order.batch {
            Some(place) => place.at > 1 && !place.commit,
            // The one behind it can go right now, so the answer to that is not waited for in vain.
            None => {
                self.machine.may_go_unanswered(order)
                    && self.unanswered.1 < self.machine.burst() / UNANSWERED
                    && matches!(self.find(order.seq + 1), Found::Here(_))
            }
        };
        // The window opens only by answers, so there is always one on its way.
        let answered = !silent || self.unanswered.0 >= ANSWER_BYTES.min(self.member.usage().link_window / 4);
        if answered {
            self.unanswered = (0, 0);
        }
        answered
    }
}

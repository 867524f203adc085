//! What a stream and its consumers ought to do, in the simplest form: maps and lists in memory.

use crate::jetstream::consumer::Retention;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Deliveries of one message at most.
pub const MAX_DELIVER: u64 = 3;

/// A stream of subjects without wildcards.
#[derive(Debug)]
pub struct Model {
    pub retention: Retention,
    /// Messages at most, of which the oldest go.
    pub max_msgs: usize,
    pub last: u64,
    pub messages: BTreeMap<u64, String>,
    pub consumers: BTreeMap<String, Reader>,
}

/// How the requests of a consumer's priority group are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Overflow,
    Pinned,
    Prioritized,
}

/// What a request says beside how much it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    Nothing,
    /// Overflow: it is served only if so many are not acknowledged.
    Backlog(usize),
    /// Pinned: that it is of the client that was pinned last.
    Pinned,
    /// Pinned: that it is of a client that never was.
    Foreign,
}

/// One of two requests that wait together: its priority, and how much it wants.
pub type Rival = (u8, usize);

/// A pull consumer with explicit acks that never expire.
#[derive(Debug)]
pub struct Reader {
    pub policy: Policy,
    /// Some client is pinned.
    pub pinned: bool,
    /// Subjects; empty: all.
    pub filter: Vec<String>,
    pub next: u64,
    /// How often each message that is not acknowledged was delivered.
    pub pending: BTreeMap<u64, u64>,
    /// Those to deliver again, in order.
    pub again: VecDeque<u64>,
    /// Those that were delivered as often as they may be.
    pub exhausted: BTreeSet<u64>,
}

/// What a client says of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Ack,
    Nak,
    /// A nak with a delay that does not end.
    Later,
    Term,
    Progress,
}

impl Reader {
    pub fn matches(&self, subject: &str) -> bool {
        self.filter.is_empty() || self.filter.iter().any(|filter| filter == subject)
    }

    fn needs(&self, seq: u64, subject: &str) -> bool {
        let open = seq >= self.next || self.pending.contains_key(&seq) || self.exhausted.contains(&seq);
        self.matches(subject) && open
    }

    fn forget(&mut self, seq: u64) {
        self.pending.remove(&seq);
        self.exhausted.remove(&seq);
        self.again.retain(|queued| *queued != seq);
    }
}

impl Model {
    pub fn new(retention: Retention, max_msgs: usize) -> Self {
        Model { retention, max_msgs, last: 0, messages: BTreeMap::new(), consumers: BTreeMap::new() }
    }

    /// Stores a message, unless nobody is interested in it. Returns its sequence.
    pub fn publish(&mut self, subject: &str) -> u64 {
        self.last += 1;
        let wanted = self.consumers.values().any(|reader| reader.matches(subject));
        if self.retention != Retention::Interest || wanted {
            self.messages.insert(self.last, subject.to_owned());
        }
        while self.messages.len() > self.max_msgs {
            let oldest = self.messages.keys().next().copied();
            oldest.into_iter().for_each(|seq| self.remove(seq));
        }
        self.last
    }

    /// The message leaves the stream, by whatever way.
    pub fn remove(&mut self, seq: u64) {
        self.messages.remove(&seq);
        self.consumers.values_mut().for_each(|reader| reader.forget(seq));
    }

    /// Removes all messages, or those on one subject.
    pub fn purge(&mut self, subject: Option<&str>) {
        let gone = |(_, on): &(&u64, &String)| subject.is_none_or(|subject| *on == subject);
        let seqs: Vec<u64> = self.messages.iter().filter(gone).map(|(seq, _)| *seq).collect();
        seqs.into_iter().for_each(|seq| self.remove(seq));
    }

    pub fn add(&mut self, name: &str, filter: &[String], policy: Policy) {
        let next = self.messages.keys().next().copied().unwrap_or(self.last + 1);
        let (pending, again, exhausted) = Default::default();
        let (filter, pinned) = (filter.to_vec(), false);
        let reader = Reader { policy, pinned, filter, next, pending, again, exhausted };
        self.consumers.insert(name.to_owned(), reader);
    }

    pub fn drop_consumer(&mut self, name: &str) {
        self.consumers.remove(name);
        if self.retention == Retention::Interest {
            let seqs: Vec<u64> = self.messages.keys().copied().collect();
            seqs.into_iter().for_each(|seq| self.settle(seq));
        }
    }

    /// Delivers up to `count` messages if what the request says allows it: sequence and how often it was delivered.
    pub fn pull(&mut self, name: &str, count: usize, says: Says) -> Vec<(u64, u64)> {
        let Some(reader) = self.consumers.get(name) else { return Vec::new() };
        let served = match says {
            Says::Nothing => !reader.pinned,
            Says::Backlog(least) => reader.pending.len() >= least,
            Says::Pinned => reader.pinned,
            Says::Foreign => false,
        };
        let given = if served { self.deliver(name, count) } else { Vec::new() };
        if let Some(reader) = self.consumers.get_mut(name) {
            reader.pinned |= reader.policy == Policy::Pinned && !given.is_empty();
        }
        given
    }

    /// Stores what two requests that wait want together, and delivers it: all to the one with the lower number until it has
    /// enough, or to both in turn.
    pub fn compete(&mut self, name: &str, subject: &str, rivals: [Rival; 2]) -> [Vec<(u64, u64)>; 2] {
        let mut given = [Vec::new(), Vec::new()];
        let mut turn = VecDeque::from([0, 1]);
        if rivals[1].0 < rivals[0].0 {
            turn.rotate_left(1);
        }
        for _ in 0..rivals[0].1 + rivals[1].1 {
            self.publish(subject);
            let Some(at) = turn.pop_front() else { break };
            given[at].extend(self.deliver(name, 1));
            if given[at].len() < rivals[at].1 {
                match rivals[0].0 == rivals[1].0 {
                    true => turn.push_back(at),
                    false => turn.push_front(at),
                }
            }
        }
        given
    }

    fn deliver(&mut self, name: &str, count: usize) -> Vec<(u64, u64)> {
        let Some(reader) = self.consumers.get_mut(name) else { return Vec::new() };
        let mut given = Vec::new();
        while let Some(seq) = (given.len() < count).then(|| reader.again.pop_front()).flatten() {
            let deliveries = reader.pending.entry(seq).or_default();
            *deliveries += 1;
            given.push((seq, *deliveries));
        }
        for (seq, subject) in self.messages.range(reader.next..) {
            if given.len() == count {
                return given;
            }
            reader.next = seq + 1;
            if reader.matches(subject) {
                reader.pending.insert(*seq, 1);
                given.push((*seq, 1));
            }
        }
        if given.len() < count {
            reader.next = reader.next.max(self.last + 1);
        }
        given
    }

    pub fn answer(&mut self, name: &str, seq: u64, verb: Verb) {
        let Some(reader) = self.consumers.get_mut(name) else { return };
        match verb {
            Verb::Ack | Verb::Term => {
                let known = reader.pending.contains_key(&seq) || reader.exhausted.contains(&seq);
                reader.forget(seq);
                if known {
                    self.settle(seq);
                }
            }
            Verb::Nak => {
                let queued = reader.again.contains(&seq);
                match reader.pending.get(&seq).copied() {
                    Some(MAX_DELIVER) => {
                        reader.forget(seq);
                        reader.exhausted.insert(seq);
                    }
                    Some(_) if !queued => reader.again.push_back(seq),
                    _ => {}
                }
            }
            Verb::Later if reader.pending.contains_key(&seq) => reader.again.retain(|queued| *queued != seq),
            Verb::Later | Verb::Progress => {}
        }
    }

    /// After a start, what waits to be delivered again does so in the order of the stream, and nobody is pinned.
    pub fn restart(&mut self) {
        for reader in self.consumers.values_mut() {
            reader.pinned = false;
            reader.again.make_contiguous().sort_unstable();
        }
    }

    pub fn unpin(&mut self, name: &str) {
        if let Some(reader) = self.consumers.get_mut(name) {
            reader.pinned = false;
        }
    }

    /// Whether a request would wait.
    pub fn has_nothing_for(&self, name: &str) -> bool {
        self.left(name) == 0 && self.consumers.get(name).is_some_and(|reader| reader.again.is_empty())
    }

    /// Messages that a consumer has still to be given for the first time.
    pub fn left(&self, name: &str) -> usize {
        let Some(reader) = self.consumers.get(name) else { return 0 };
        self.messages.range(reader.next..).filter(|(_, subject)| reader.matches(subject)).count()
    }

    /// Someone is done with the message, which leaves the stream if nobody else needs it.
    fn settle(&mut self, seq: u64) {
        let Some(subject) = self.messages.get(&seq) else { return };
        let needed = match self.retention {
            Retention::Limits => true,
            Retention::WorkQueue => false,
            Retention::Interest => self.consumers.values().any(|reader| reader.needs(seq, subject)),
        };
        if !needed {
            self.remove(seq);
        }
    }
}

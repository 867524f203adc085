//! The machine's steps: what each event changes.

use super::{
    AckResult, Action, CALM_BURSTS, CHAINS, Flight, GUARD_TRIES, Guard, HubAnswer, LastId, Machine, Phase, WARIEST,
};
use std::time::Duration;

/// How often the time doubles after which a hub that answers to no message is dialled anew.
const SILENCES: u32 = 6;

impl Machine {
    pub(super) fn sent(&mut self, now: Duration, seq: u64, bytes: u64) {
        if self.phase != Phase::Sending || seq != self.next {
            return;
        }
        if seq <= self.sent_high {
            self.counters.resends += 1;
        }
        self.sent_high = self.sent_high.max(seq);
        self.batched(seq, bytes);
        self.next = seq + 1;
        if self.head.take().is_some() {
            self.head_in_flight = Some(seq);
        }
        self.previous = Some((seq, now));
        self.in_flight.push_back(Flight { seq, bytes, at: now, missing: 0 });
        self.in_flight_bytes += bytes;
    }

    pub(super) fn gap(&mut self, now: Duration, from: u64, to: u64) {
        if !matches!(self.phase, Phase::Sending | Phase::Positioning { .. }) || from != self.next || to < from {
            return;
        }
        let missing = to - from + 1;
        self.next = to + 1;
        // The position that was asked for is that of another subject.
        self.head = None;
        self.phase = Phase::Sending;
        if self.in_flight.is_empty() {
            self.cursor.confirmed = to;
            self.counters.gaps += if self.settings.sparse { 0 } else { missing };
            self.last_progress = now;
        } else if self.batch_lacks(to) {
            self.restart(now);
        } else {
            self.in_flight.push_back(Flight { seq: to, bytes: 0, at: now, missing });
        }
    }

    pub(super) fn positioned(&mut self, now: Duration, last: Option<(u64, u64)>) {
        self.phase = Phase::Sending;
        match last {
            // An earlier run's message came through meanwhile.
            Some((seq, position)) if seq >= self.next && seq <= self.sent_or_committed() => {
                self.confirm(now, seq, position);
            }
            _ => self.head = Some(Guard::Position),
        }
    }

    pub(super) fn ack(&mut self, now: Duration, run: u64, seq: u64, result: AckResult) {
        match result {
            AckResult::Stored { position, duplicate } => {
                if run >= self.first_valid_run && seq <= self.sent_or_committed() {
                    self.counters.duplicates += u64::from(duplicate);
                    self.batch_stored(run, seq);
                    self.confirm(now, seq, position);
                }
            }
            _ if run != self.run || self.phase != Phase::Sending => {}
            AckResult::Temporary => self.back_off(now),
            AckResult::Staged => self.staged(now, seq),
            AckResult::Unbatched { never } => self.unbatched(now, never),
            AckResult::Moved(last) => self.moved(now, last),
            AckResult::Permanent(reason) => {
                if self.in_flight.front().is_some_and(|front| front.seq == seq) {
                    self.unsendable = Some((seq, reason));
                    self.forget_flights();
                } else {
                    // One before it has not been answered, or it is one of a batch; the next run finds out.
                    self.batches.avoid(seq);
                    self.restart(now);
                }
            }
        }
    }

    /// A guard did not hold.
    fn moved(&mut self, now: Duration, last: LastId) {
        match last {
            // Where asking is possible it tells the position too.
            LastId::Ours(seq) if !self.asked && seq > self.cursor.held && seq <= self.sent_or_committed() => {
                self.confirm(now, seq, 0);
            }
            LastId::Foreign => {
                self.counters.chain_breaks += 1;
                self.burst = (self.burst / 2).min(CHAINS * self.unbroken).max(1);
                if std::mem::take(&mut self.doubled) {
                    self.wary = (self.wary * 2).min(WARIEST);
                }
                self.calm = 0;
                self.chain_failed = true;
            }
            _ => self.chain_failed = true,
        }
        self.guard_failures += 1;
        if self.guard_failures > 2 { self.back_off(now) } else { self.restart(now) }
    }

    pub(super) fn answer(&mut self, now: Duration, answer: HubAnswer, actions: &mut Vec<Action>) {
        match answer {
            HubAnswer::Temporary => self.back_off(now),
            HubAnswer::Unknown => {
                self.asked = false;
                self.phase = Phase::Sending;
            }
            HubAnswer::Held { last, lost, local_first } => {
                self.asked = true;
                self.cursor.told = true;
                self.phase = Phase::Sending;
                let (seq, position) = last.unwrap_or_default();
                if seq > self.committed {
                    self.local_lost(seq, actions);
                } else if seq > self.cursor.held {
                    self.confirm(now, seq, position);
                } else if seq < self.cursor.held && lost {
                    self.hub_lost(seq, position, local_first, actions);
                }
            }
        }
    }

    /// The hub holds less than it had confirmed: what is still here is sent again.
    fn hub_lost(&mut self, seq: u64, position: u64, local_first: u64, actions: &mut Vec<Action>) {
        let to = self.cursor.held;
        // What was dropped here cannot be sent again, whether the hub had it or it was a gap.
        let back = local_first.saturating_sub(1).clamp(seq, self.cursor.confirmed.max(seq));
        let gone = (back - seq).min(to - seq);
        self.counters.hub_lost += to - seq;
        self.cursor.confirmed = back;
        self.cursor.held = seq;
        self.cursor.held_position = position;
        self.next = self.cursor.confirmed + 1;
        self.first_valid_run = self.run;
        actions.push(Action::HubLost { from: seq + 1, to, gone });
    }

    /// The hub holds more than was ever committed here: sequence numbers would be used twice.
    fn local_lost(&mut self, hub: u64, actions: &mut Vec<Action>) {
        actions.push(Action::LocalLost { local: self.committed, hub });
        self.cursor.generation += 1;
        self.cursor.confirmed = self.committed;
        self.cursor.held = 0;
        self.cursor.held_position = 0;
        self.first_valid_run = self.run + 1;
        self.forget_flights();
        self.phase = Phase::Renaming;
        self.saving = true;
        actions.push(Action::SaveCursor(self.cursor));
    }

    /// Message `seq` is at the hub, and with it all before it.
    pub(super) fn confirm(&mut self, now: Duration, seq: u64, position: u64) {
        if seq <= self.cursor.held {
            return;
        }
        let before = self.cursor.confirmed;
        let mut missing = 0;
        self.cursor.held = seq;
        self.cursor.held_position = position;
        self.cursor.confirmed = self.cursor.confirmed.max(seq);
        while let Some(front) = self.in_flight.front()
            && (front.seq <= seq || front.missing > 0)
        {
            self.cursor.confirmed = self.cursor.confirmed.max(front.seq);
            self.in_flight_bytes -= front.bytes;
            self.calm += usize::from(front.missing == 0);
            self.unbroken += usize::from(front.missing == 0);
            self.counters.gaps += if self.settings.sparse { 0 } else { front.missing };
            missing += front.missing;
            self.in_flight.pop_front();
        }
        self.counters.delivered += (self.cursor.confirmed - before).saturating_sub(missing);
        if self.next <= self.cursor.confirmed {
            // An earlier run's message got through: go on behind it.
            self.next = self.cursor.confirmed + 1;
            self.previous = None;
            self.head = None;
            self.unsendable = None;
            if matches!(self.phase, Phase::Positioning { .. }) {
                self.phase = Phase::Sending;
            }
        }
        if self.head_in_flight.is_some_and(|head| head <= seq) {
            self.head_in_flight = None;
        }
        if self.calm >= self.burst * CALM_BURSTS * self.wary && self.burst < self.settings.window {
            self.burst = (self.burst * 2).min(self.settings.window);
            self.calm = 0;
            if std::mem::replace(&mut self.doubled, true) {
                self.wary = (self.wary / 2).max(1);
            }
        }
        self.guard_failures = 0;
        self.chain_failed = false;
        self.attempts = 0;
        self.last_progress = now;
    }

    /// Ends the run and asks the hub where it stands as soon as there is a link.
    pub(super) fn restart(&mut self, now: Duration) {
        self.end_run();
        self.phase = match self.session {
            _ if self.cursor.generation != self.saved.generation => Phase::Renaming,
            None => Phase::Offline,
            Some(_) => Phase::Backoff { until: now },
        };
    }

    /// As [`Machine::restart`], after a wait that grows and is drawn at random, so that gateways do not come in step.
    pub(super) fn back_off(&mut self, now: Duration) {
        self.restart(now);
        if matches!(self.phase, Phase::Backoff { .. }) {
            let (first, longest) = self.settings.backoff;
            let most = first.saturating_mul(1 << self.attempts.min(20)).min(longest);
            self.attempts += 1;
            self.phase = Phase::Backoff { until: now + most.mul_f64(self.rng.f64()) };
        }
    }

    fn end_run(&mut self) {
        self.run += 1;
        self.unbroken = 0;
        self.forget_flights();
        self.unsendable = None;
        self.next = self.cursor.confirmed + 1;
    }

    fn forget_flights(&mut self) {
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        self.previous = None;
        self.head = None;
        self.head_in_flight = None;
        self.batches.open = None;
    }

    fn sent_or_committed(&self) -> u64 {
        self.sent_high.max(self.committed)
    }

    /// Does what time and the new state call for.
    pub(super) fn advance(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let due = |since: Duration, wait: Duration| now >= since + wait;
        match self.phase {
            Phase::Backoff { until } if now >= until => self.ask(now, 1, actions),
            Phase::Asking { since, tries } if due(since, self.settings.ack_timeout) => {
                if self.cursor.told || tries < self.settings.ask_tries {
                    self.ask(now, tries.saturating_add(1), actions);
                } else {
                    self.asked = false;
                    self.phase = Phase::Sending;
                }
            }
            Phase::Positioning { since } if due(since, self.settings.ack_timeout) => self.back_off(now),
            Phase::Sending if self.backlog() > 0 => {
                let front = self.in_flight.front().map(|flight| flight.at);
                let (ack, watchdog) = (self.settings.ack_timeout, self.settings.watchdog);
                if front.is_some_and(|at| due(at, ack + self.on_wire())) {
                    // It answers to questions, so that it is heard, but to no message: another node of the hub may.
                    let patience = watchdog.saturating_mul(2 << self.silences.min(SILENCES)) + self.on_wire();
                    if due(self.last_ack, patience) {
                        self.counters.watchdog += 1;
                        self.silences += 1;
                        (self.last_ack, self.last_heard) = (now, now);
                        actions.push(Action::Redial);
                    }
                    self.back_off(now);
                } else if due(self.last_progress, watchdog + self.on_wire()) {
                    self.counters.watchdog += 1;
                    self.last_progress = now;
                    self.back_off(now);
                }
            }
            _ => {}
        }
        if self.session.is_some() && self.backlog() > 0 && due(self.last_heard, self.settings.watchdog + self.on_wire())
        {
            self.counters.watchdog += 1;
            self.last_heard = now;
            actions.push(Action::Redial);
        }
        self.advance_sending(now, actions);
        if self.cursor != self.saved && !self.saving && now >= self.next_save {
            self.save(now, actions);
        }
    }

    pub(super) fn save(&mut self, now: Duration, actions: &mut Vec<Action>) {
        self.saving = true;
        self.next_save = now + self.settings.save_interval;
        actions.push(Action::SaveCursor(self.cursor));
    }

    fn advance_sending(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self.phase != Phase::Sending || !self.in_flight.is_empty() {
            return;
        }
        if let Some((seq, reason)) = self.unsendable.take()
            && seq == self.cursor.confirmed + 1
        {
            self.phase = Phase::Burying;
            actions.push(Action::Bury { seq, reason });
            return;
        }
        if self.next > self.committed || self.head.is_some() || self.chain(now).is_some() {
            return;
        }
        if !self.asked {
            let chained = self.chains && self.cursor.held > 0 && !self.chain_failed;
            self.head = Some(if chained { Guard::After(self.cursor.held) } else { Guard::Window });
        } else if self.guard_failures >= GUARD_TRIES {
            self.head = Some(Guard::Window);
        } else {
            self.phase = Phase::Positioning { since: now };
            actions.push(Action::AskPosition { run: self.run, seq: self.next });
        }
    }

    fn ask(&mut self, now: Duration, tries: u32, actions: &mut Vec<Action>) {
        self.counters.reconciliations += 1;
        self.last_progress = now;
        self.phase = Phase::Asking { since: now, tries };
        actions.push(Action::AskHub { run: self.run });
    }
}

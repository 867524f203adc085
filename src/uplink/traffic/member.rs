//! The rules behind a lock, with the clock: what uplinks hold in their hands.

use super::super::machine::Drain;
use super::clock::Clock;
use super::rules::{Held, Rules};
use super::{Limits, Moment, Spent};
use crate::config::traffic::{Class, TimeZone};
use crate::leaf::Volume;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// The traffic of all uplinks of the daemon.
pub struct Traffic {
    state: Mutex<State>,
    /// Something has arrived, or who went first has nothing more to send.
    room: Notify,
}

struct State {
    clock: Clock,
    rules: Rules,
}

/// One uplink's part in it.
pub struct Member {
    traffic: Arc<Traffic>,
    party: usize,
}

/// What an uplink has used, for the status.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Its class.
    pub class: Class,
    /// Bytes that crossed since the start, both ways.
    pub bytes: u64,
    /// Today and this month.
    pub spent: Spent,
    /// What the link drains, if measured.
    pub link_drain: Option<Drain>,
    /// Bytes that may be on their way.
    pub link_window: u64,
}

impl Traffic {
    /// Traffic under the limits of the whole WAN.
    pub fn new(wan: Limits, zone: TimeZone) -> Arc<Traffic> {
        let state = State { clock: Clock::new(zone), rules: Rules::new(wan) };
        Arc::new(Traffic { state: Mutex::new(state), room: Notify::new() })
    }

    /// A further uplink over the link called `link`, with what it had spent before the start.
    pub fn join(self: &Arc<Self>, link: &str, class: Class, limits: Limits, spent: Spent) -> Member {
        let party = self.state().rules.join(link, class, limits, spent);
        Member { traffic: self.clone(), party }
    }

    /// Resolves when it is worth to ask again; what happens from this call on counts.
    pub fn room(&self) -> Notified<'_> {
        self.room.notified()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    fn with<T>(&self, act: impl FnOnce(&mut Rules, &Moment, usize) -> T) -> T {
        let mut state = self.traffic.state();
        let now = state.clock.now();
        act(&mut state.rules, &now, self.party)
    }

    /// Whether a message may go now.
    ///
    /// # Errors
    /// It may not, and why. [`Traffic::room`] and [`Held::again`] tell when to ask again.
    pub fn admit(&self) -> Result<(), Held> {
        self.with(|rules, now, party| rules.admit(now, party))
    }

    /// Message `seq` goes, of `bytes` before compression. Returns the bytes on the wire.
    pub fn sent(&self, seq: u64, bytes: u64) -> u64 {
        self.with(|rules, now, party| rules.sent(now, party, seq, bytes))
    }

    /// `bytes` before compression were sent that the hub will not answer.
    pub fn told(&self, bytes: u64) {
        self.with(|rules, now, party| rules.told(now, party, bytes));
    }

    /// `bytes`, as they are when unpacked, were received.
    pub fn received(&self, bytes: u64) {
        self.with(|rules, now, party| rules.received(now, party, bytes));
    }

    /// What the link has carried, sent and received, if it is compressed.
    pub fn volumes(&self, volumes: Option<(Volume, Volume)>) {
        self.with(|rules, _, party| rules.volumes(party, volumes));
    }

    /// The hub has answered to message `seq`, and so to those before it.
    pub fn answered(&self, seq: u64) {
        let others = self.with(|rules, now, party| rules.answered(now, party, seq) && rules.others_wait(party));
        self.wake(others);
    }

    /// What is on its way will not be answered any more.
    pub fn forget(&self) {
        let others = self.with(|rules, _, party| {
            rules.forget(party);
            rules.others_wait(party)
        });
        self.wake(others);
    }

    /// There is nothing to send at present.
    pub fn idle(&self) {
        let others = self.with(|rules, _, party| rules.idle(party) && rules.others_wait(party));
        self.wake(others);
    }

    fn wake(&self, others: bool) {
        if others {
            self.traffic.room.notify_waiters();
        }
    }

    /// The traffic of all.
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    /// What was used so far.
    pub fn usage(&self) -> Usage {
        self.with(|rules, now, party| {
            let pace = rules.pace(party);
            let link_drain = pace.rate().zip(pace.trip()).map(|(rate, trip)| Drain { rate, trip });
            let link_window = pace.window();
            let this = &mut rules.parties[party];
            this.spent.turn(now);
            Usage { class: this.class, bytes: this.sent, spent: this.spent, link_drain, link_window }
        })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.with(|rules, _, party| rules.leave(party));
        self.wake(true);
    }
}

//! The decisions: whether a message of some uplink may go now.

use super::Moment;
use super::limits::{Bucket, Limits, Spent};
use super::pace::{Flight, Pace};
use super::share::Share;
use crate::config::traffic::Class;
use crate::leaf::Volume;
use std::collections::VecDeque;
use std::time::Duration;

/// Longest time after which a message that is held back by the calendar is looked at again: the clock may be set.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// The same for a message that waits for others.
const LOOK_AROUND: Duration = Duration::from_secs(1);
/// Messages that go within this time may become one block, but not more than so many.
const TOGETHER: (Duration, usize) = (Duration::from_millis(5), 64);
/// How far alarms may run ahead of a rate, in seconds of that rate.
const ALARM_AHEAD: Duration = Duration::from_secs(30);

/// Why a message may not go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The uplink's or the WAN's rate; for so long.
    Rate(Duration),
    /// The uplink's or the WAN's bytes of the day are used up.
    Daily,
    /// The same for the month.
    Monthly,
    /// Outside of the uplink's or the WAN's hours.
    Schedule,
    /// A more urgent uplink waits for the link.
    Priority,
    /// As much is on its way as the link drains; for so long, unless something arrives before.
    Link(Duration),
}

impl Held {
    /// For the operator.
    pub fn words(self) -> &'static str {
        match self {
            Held::Rate(_) => "held back by its rate",
            Held::Daily => "held back: the bytes of the day are used up",
            Held::Monthly => "held back: the bytes of the month are used up",
            Held::Schedule => "held back outside of its schedule",
            Held::Priority => "more urgent uplinks go first",
            Held::Link(_) => "sending as fast as the link drains",
        }
    }

    /// When to ask again, unless something arrives before.
    pub fn again(self) -> Duration {
        match self {
            Held::Rate(wait) => wait.min(LOOK_AGAIN),
            Held::Link(wait) => wait,
            Held::Daily | Held::Monthly | Held::Schedule => LOOK_AGAIN,
            Held::Priority => LOOK_AROUND,
        }
    }
}

/// Limits in force.
struct Limiter {
    limits: Limits,
    bucket: Option<Bucket>,
}

impl Limiter {
    fn new(limits: Limits) -> Limiter {
        let bucket = limits.rate.map(|rate| Bucket::new(rate, limits.burst));
        Limiter { limits, bucket }
    }

    /// `reserve` of ten parts of the budgets are not for this message.
    fn check(&mut self, now: &Moment, spent: &Spent, alarm: bool, reserve: u64) -> Result<(), Held> {
        let limits = &self.limits;
        if limits.schedule.as_ref().is_some_and(|schedule| !schedule.is_open(now.weekday, now.minute)) {
            return Err(Held::Schedule);
        }
        let used_up = |limit: Option<u64>, spent: u64| limit.is_some_and(|limit| spent >= limit - limit / 10 * reserve);
        if used_up(limits.monthly, spent.month_bytes) {
            return Err(Held::Monthly);
        }
        if used_up(limits.daily, spent.day_bytes) {
            return Err(Held::Daily);
        }
        match self.bucket.as_mut().and_then(|bucket| bucket.wait(now.mono)) {
            Some(wait) if !alarm || wait > ALARM_AHEAD => Err(Held::Rate(wait)),
            _ => Ok(()),
        }
    }

    fn take(&mut self, bytes: u64) {
        if let Some(bucket) = &mut self.bucket {
            bucket.take(bytes);
        }
    }
}

/// What is known of one uplink.
pub(super) struct Party {
    link: usize,
    pub class: Class,
    limiter: Limiter,
    pub spent: Spent,
    /// Bytes since the start.
    pub sent: u64,
    /// It has something to send that only the link or others keep back.
    waiting: bool,
    flights: VecDeque<(u64, Flight)>,
    gone: bool,
}

/// What is known of one link.
struct LinkTraffic {
    name: String,
    pace: Pace,
    /// What compression leaves of what is sent and of what is received.
    shares: (Share, Share),
}

/// All uplinks and all links.
pub(super) struct Rules {
    wan: Limiter,
    wan_spent: Spent,
    links: Vec<LinkTraffic>,
    pub parties: Vec<Party>,
}

impl Rules {
    pub fn new(wan: Limits) -> Rules {
        Rules { wan: Limiter::new(wan), wan_spent: Spent::default(), links: Vec::new(), parties: Vec::new() }
    }

    /// A further uplink, with what it had spent before the start.
    pub fn join(&mut self, link: &str, class: Class, limits: Limits, spent: Spent) -> usize {
        let at = self.links.iter().position(|known| known.name == link).unwrap_or_else(|| {
            let (name, pace) = (link.to_owned(), Pace::default());
            self.links.push(LinkTraffic { name, pace, shares: Default::default() });
            self.links.len() - 1
        });
        let wan = &mut self.wan_spent;
        wan.turn(&Moment { day: spent.day, month: spent.month, ..Moment::default() });
        wan.day_bytes += if spent.day == wan.day { spent.day_bytes } else { 0 };
        wan.month_bytes += if spent.month == wan.month { spent.month_bytes } else { 0 };
        let limiter = Limiter::new(limits);
        let flights = VecDeque::new();
        self.parties.push(Party { link: at, class, limiter, spent, sent: 0, waiting: false, flights, gone: false });
        self.parties.len() - 1
    }

    pub fn pace(&self, party: usize) -> &Pace {
        &self.links[self.parties[party].link].pace
    }

    /// Whether `party` may send a message now.
    pub fn admit(&mut self, now: &Moment, party: usize) -> Result<(), Held> {
        let class = self.parties[party].class;
        let alarm = class == Class::Alarm;
        let this = &mut self.parties[party];
        this.waiting = false;
        this.spent.turn(now);
        self.wan_spent.turn(now);
        this.limiter.check(now, &this.spent, alarm, 0)?;
        this.waiting = true;
        let link = this.link;
        let before =
            |other: &Party| other.waiting && other.class < class && (other.link == link || self.wan.bucket.is_some());
        if self.parties.iter().any(before) {
            return Err(Held::Priority);
        }
        if let Err(held) = self.wan.check(now, &self.wan_spent, alarm, u64::from(!alarm)) {
            // Alarms that wait for the rate keep others from using it up; who waits for the calendar keeps nobody.
            self.parties[party].waiting = matches!(held, Held::Rate(_));
            return Err(held);
        }
        let pace = &self.links[link].pace;
        if !pace.has_room(self.oldest(link), alarm) {
            return Err(Held::Link(LOOK_AROUND));
        }
        let wait = pace.spread(now.mono);
        if !alarm && !wait.is_zero() {
            return Err(Held::Link(wait));
        }
        self.parties[party].waiting = false;
        Ok(())
    }

    /// Bytes of the oldest message on its way over `link`, and of those that went together with it, which the link may have
    /// put into one block of compression or encryption that arrives as a whole.
    fn oldest(&self, link: usize) -> (u64, u64) {
        let parties = || self.parties.iter().filter(|party| party.link == link);
        let fronts = parties().filter_map(|party| party.flights.front());
        let Some((first, bytes)) = fronts.map(|(_, flight)| (flight.at(), flight.bytes())).min() else {
            return (0, 0);
        };
        let together = |party: &Party| {
            let flights = party.flights.iter().take(TOGETHER.1).map(|(_, flight)| flight);
            flights.take_while(|flight| flight.at() <= first + TOGETHER.0).map(Flight::bytes).sum::<u64>()
        };
        (bytes, parties().map(together).sum())
    }

    /// `party` sends message `seq` of `bytes` before compression, which the hub will answer, itself or with a later one.
    /// Returns the bytes on the wire.
    pub fn sent(&mut self, now: &Moment, party: usize, seq: u64, bytes: u64) -> u64 {
        let this = &mut self.parties[party];
        let link = &mut self.links[this.link];
        let bytes = link.shares.0.of(bytes);
        let flight = link.pace.sent(now.mono, bytes);
        this.flights.push_back((seq, flight));
        this.limiter.take(bytes);
        self.wan.take(bytes);
        self.spend(now, party, bytes);
        bytes
    }

    /// `bytes` were sent for `party` that the hub will not answer.
    pub fn told(&mut self, now: &Moment, party: usize, bytes: u64) {
        let bytes = self.links[self.parties[party].link].shares.0.of(bytes);
        self.spend(now, party, bytes);
    }

    /// `bytes` were received for `party`.
    pub fn received(&mut self, now: &Moment, party: usize, bytes: u64) {
        let bytes = self.links[self.parties[party].link].shares.1.of(bytes);
        self.spend(now, party, bytes);
    }

    /// The link of `party` has carried this, sent and received, if it is compressed.
    pub fn volumes(&mut self, party: usize, volumes: Option<(Volume, Volume)>) {
        let (sent, received) = &mut self.links[self.parties[party].link].shares;
        sent.note(volumes.map(|(sent, _)| sent));
        received.note(volumes.map(|(_, received)| received));
    }

    fn spend(&mut self, now: &Moment, party: usize, bytes: u64) {
        let this = &mut self.parties[party];
        this.spent.turn(now);
        this.spent.add(bytes);
        this.sent += bytes;
        self.wan_spent.turn(now);
        self.wan_spent.add(bytes);
    }

    /// The hub has answered to message `seq` of `party`. Returns whether others may go on now.
    pub fn answered(&mut self, now: &Moment, party: usize, seq: u64) -> bool {
        let this = &mut self.parties[party];
        let arrived = this.flights.partition_point(|(sent, _)| *sent <= seq);
        let flights = this.flights.drain(..arrived).map(|(_, flight)| flight);
        self.links[this.link].pace.arrived(now.mono, flights);
        arrived > 0
    }

    /// Nothing more will be answered of what `party` has sent.
    pub fn forget(&mut self, party: usize) {
        let this = &mut self.parties[party];
        let flights = this.flights.drain(..).map(|(_, flight)| flight);
        self.links[this.link].pace.forgotten(flights);
        this.waiting = false;
    }

    /// `party` has nothing to send.
    pub fn idle(&mut self, party: usize) -> bool {
        std::mem::take(&mut self.parties[party].waiting)
    }

    /// `party` has ended.
    pub fn leave(&mut self, party: usize) {
        self.forget(party);
        self.parties[party].gone = true;
    }

    /// Whether others wait for room on the link of `party`, or for the WAN's rate.
    pub fn others_wait(&self, party: usize) -> bool {
        self.parties.iter().enumerate().any(|(at, other)| at != party && other.waiting && !other.gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schedule::Schedule;

    fn at(seconds: u64) -> Moment {
        Moment { day: 1, month: 1, mono: Duration::from_secs(seconds), ..Moment::default() }
    }

    #[test]
    fn who_is_more_urgent_goes_first_where_they_share_a_link() {
        let mut rules = Rules::new(Limits::default());
        let bulk = rules.join("a", Class::Bulk, Limits::default(), Spent::default());
        let alarm = rules.join("a", Class::Alarm, Limits::default(), Spent::default());
        let other = rules.join("b", Class::Bulk, Limits::default(), Spent::default());
        let mut seq = 0;
        while rules.admit(&at(1), bulk).is_ok() {
            seq += 1;
            rules.sent(&at(1), bulk, seq, 1000);
        }
        assert_eq!(rules.admit(&at(1), bulk), Err(Held::Link(LOOK_AROUND)));
        let mut alarms = 0;
        while rules.admit(&at(1), alarm).is_ok() {
            alarms += 1;
            rules.sent(&at(1), alarm, alarms, 1000);
        }
        assert!(alarms > 0, "they do not wait for room behind what they overtake");
        assert_eq!(rules.admit(&at(1), alarm), Err(Held::Link(LOOK_AROUND)));
        assert!(rules.answered(&at(2), bulk, seq));
        assert_eq!(rules.admit(&at(2), bulk), Err(Held::Priority));
        assert_eq!(rules.admit(&at(2), other), Ok(()), "another link is another matter");
        assert_eq!(rules.admit(&at(2), alarm), Ok(()));
        rules.answered(&at(3), alarm, alarms);
        assert_eq!(rules.admit(&at(3), bulk), Ok(()));
    }

    #[test]
    fn budgets_hold_and_the_last_tenth_of_the_wans_is_for_alarms() {
        let mut rules = Rules::new(Limits { daily: Some(1000), ..Limits::default() });
        let own = Limits { monthly: Some(500), ..Limits::default() };
        let limited = rules.join("a", Class::Telemetry, own, Spent::default());
        let before = Spent { day: 1, day_bytes: 300, month: 1, month_bytes: 300 };
        let bulk = rules.join("a", Class::Bulk, Limits::default(), before);
        let alarm = rules.join("a", Class::Alarm, Limits::default(), Spent::default());
        rules.sent(&at(1), limited, 1, 500);
        assert_eq!(rules.admit(&at(1), limited), Err(Held::Monthly));
        assert_eq!(rules.admit(&at(1), bulk), Ok(()));
        rules.sent(&at(1), bulk, 1, 100);
        assert_eq!(rules.admit(&at(1), bulk), Err(Held::Daily));
        assert_eq!(rules.admit(&at(1), alarm), Ok(()));
        rules.sent(&at(1), alarm, 1, 100);
        assert_eq!(rules.admit(&at(1), alarm), Err(Held::Daily));
        let tomorrow = Moment { day: 2, ..at(90_000) };
        assert_eq!(rules.admit(&tomorrow, bulk), Ok(()));
        assert_eq!(rules.admit(&tomorrow, limited), Err(Held::Monthly), "what it has itself used up keeps nobody else");
        assert_eq!(rules.admit(&tomorrow, bulk), Ok(()));
    }

    #[test]
    fn rates_hold_and_alarms_may_run_ahead_of_them() {
        let mut rules = Rules::new(Limits { rate: Some(100), ..Limits::default() });
        let bulk = rules.join("a", Class::Bulk, Limits::default(), Spent::default());
        let alarm = rules.join("b", Class::Alarm, Limits::default(), Spent::default());
        rules.sent(&at(1), bulk, 1, 600);
        assert!(matches!(rules.admit(&at(1), bulk), Err(Held::Rate(_))));
        assert_eq!(rules.admit(&at(1), alarm), Ok(()));
        rules.sent(&at(1), alarm, 1, 4000);
        assert!(matches!(rules.admit(&at(1), alarm), Err(Held::Rate(_))));
        assert_eq!(rules.admit(&at(1), bulk), Err(Held::Priority));
    }

    #[test]
    fn outside_its_hours_nothing_goes() {
        let schedule = Some(Schedule::parse(["Mon 10:00-11:00"]).expect("a schedule"));
        let mut rules = Rules::new(Limits::default());
        let party = rules.join("a", Class::Bulk, Limits { schedule, ..Limits::default() }, Spent::default());
        assert_eq!(rules.admit(&Moment { minute: 599, ..at(1) }, party), Err(Held::Schedule));
        assert_eq!(rules.admit(&Moment { minute: 600, ..at(1) }, party), Ok(()));
    }
}

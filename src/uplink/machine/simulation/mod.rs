//! A seeded world around the machine: a hub that checks guards as nats-server does, connections that die half open and
//! speak later, lost and late acks, hub restarts, refusals, other publishers, and crashes of the uplink at any action, in
//! each order in which a backlog may be drained.
//! A failing seed is printed; `LEAFD_SIM_SEED=n` replays it alone, `LEAFD_SIM_SEEDS=n` runs more.

mod checks;
mod hub;

use super::*;
use crate::config::uplink::DrainOrder;
use crate::uplink::order::{Plan, Planner, Step};
use hub::{Held, Hub};
use std::collections::{BTreeSet, HashMap, VecDeque};

const SUBJECTS: u64 = 3;

/// What the seed decides about the world.
#[derive(Clone, Copy, Debug)]
struct World {
    foreign: bool,
    refuses: bool,
    permanent: bool,
    gaps: bool,
    rollback: bool,
    /// Messages vanish when later ones of their subject are there, as in a key-value bucket.
    sparse: bool,
    answers: bool,
    /// The hub knows atomic batches, and its stream takes them.
    batches: Option<bool>,
    hub_window: Duration,
    /// The hub may be sent messages that are chained to each other.
    chains: bool,
    /// The link is fast, so that most of a chain goes without an answer.
    silent: bool,
}

#[derive(Clone, Debug)]
enum Packet {
    Publish { life: u64, order: Order, expected: Option<u64>, silent: bool },
    Ask { life: u64, run: u64 },
    AskPosition { life: u64, run: u64, seq: u64 },
}

struct Sim {
    world: World,
    rng: fastrand::Rng,
    now: Duration,
    hub: Hub,
    hub_refusing: bool,
    /// The live connection is the last one, if `up`.
    connections: Vec<VecDeque<Packet>>,
    up: bool,
    session: u64,
    replies: Vec<(u64, Event)>,
    life: u64,
    machine: Machine,
    positions: HashMap<u64, u64>,
    /// Messages in flight.
    sent: BTreeSet<u64>,
    order: DrainOrder,
    disk: Cursor,
    saving: Option<Cursor>,
    burying: Option<u64>,
    buried: BTreeSet<u64>,
    planner: Planner,
    disk_plan: Plan,
    planning: Option<Plan>,
    /// The local stream ends here.
    committed: u64,
    trimmed: u64,
    superseded: BTreeSet<u64>,
    crashed: bool,
}

fn settings(world: &World, rng: &mut fastrand::Rng) -> Settings {
    // A hub that answers must be asked until it does; one that does not is given up early.
    let ask_tries = if world.answers { u32::MAX } else { 2 };
    let chain_age = Duration::from_secs(5);
    let (batch, batch_bytes) = (rng.usize(0..60), rng.u64(500..8000));
    let sparse = world.sparse;
    Settings { sparse, window: rng.usize(1..20), chain_age, ask_tries, batch, batch_bytes, ..Settings::default() }
}

impl Sim {
    fn new(seed: u64, order: DrainOrder) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut flag = || rng.bool();
        let mut world = World {
            foreign: flag(),
            refuses: flag(),
            permanent: flag(),
            gaps: flag(),
            rollback: flag() && flag(),
            sparse: flag() && flag() && flag() && order == DrainOrder::Oldest,
            answers: flag() || flag() || flag(),
            batches: flag().then(|| flag() || flag()),
            hub_window: Duration::from_secs(20),
            chains: flag() || flag(),
            silent: flag(),
        };
        if !world.answers {
            // Where the uplink may not ask, the hub's window has to be longer than what happens within it.
            world.hub_window = Duration::from_secs(7200);
            world.rollback = false;
        }
        if world.rollback {
            world.permanent = false;
        }
        if world.sparse {
            (world.permanent, world.gaps, world.rollback) = (false, false, false);
        }
        let machine = Machine::new(settings(&world, &mut rng), Cursor::default(), 0, seed);
        Sim {
            world,
            rng,
            now: Duration::ZERO,
            hub: Hub::default(),
            hub_refusing: false,
            connections: Vec::new(),
            up: false,
            session: 0,
            replies: Vec::new(),
            life: 0,
            machine,
            positions: HashMap::new(),
            sent: BTreeSet::new(),
            order,
            disk: Cursor::default(),
            saving: None,
            burying: None,
            buried: BTreeSet::new(),
            planner: Planner::new(order, Plan::default(), 0),
            disk_plan: Plan::default(),
            planning: None,
            committed: 0,
            trimmed: 0,
            superseded: BTreeSet::new(),
            crashed: false,
        }
    }

    /// Whether the message at `place` is not there.
    fn missing(&self, place: u64) -> bool {
        let seq = self.hub.local(place);
        place <= self.trimmed || self.superseded.contains(&seq) || (self.world.gaps && seq % 41 == 7)
    }

    fn subject(&self, place: u64) -> u64 {
        self.hub.local(place) % SUBJECTS
    }

    /// As the worker does: the line is planned on, and the machine may send as far as that is on disk.
    fn go_on(&mut self, online: bool) {
        self.planner.online(self.up && online, self.committed);
        let sent = self.machine.sent_high().max(self.machine.cursor().confirmed);
        let kept = self.disk.held.min(self.machine.cursor().held).min(self.trimmed);
        let block = self.rng.u64(1..20);
        if let Some(plan) = self.planner.step(Step { committed: self.committed, sent, kept, block }) {
            self.planning = Some(plan);
        }
        self.told();
        if self.planner.told() > self.machine.committed() {
            self.feed(Event::Committed(self.planner.told()));
        }
    }

    fn feed(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.machine.handle(self.now, event, &mut actions);
        for action in actions {
            if self.crashed {
                return;
            }
            self.act(action);
        }
        self.send();
    }

    fn transmit(&mut self, packet: Packet) {
        if self.up {
            self.connections.last_mut().expect("up has a connection").push_back(packet);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::AskHub { run } => {
                self.positions.clear();
                self.sent.clear();
                self.transmit(Packet::Ask { life: self.life, run });
            }
            Action::AskPosition { run, seq } => {
                if self.missing(seq) {
                    self.feed(Event::Gap { from: seq, to: seq });
                } else if self.positions.contains_key(&self.subject(seq)) {
                    self.feed(Event::Position { run, seq, last: None });
                } else {
                    self.transmit(Packet::AskPosition { life: self.life, run, seq });
                }
            }
            Action::SaveCursor(cursor) => self.saving = Some(cursor),
            Action::Trim(upto) => {
                assert!(upto <= self.disk.confirmed, "trimmed beyond the durable cursor");
                self.trimmed = self.trimmed.max(upto);
            }
            Action::Redial => self.cut(true),
            Action::Bury { seq, .. } => self.burying = Some(seq),
            Action::HubLost { .. } => assert!(self.world.rollback, "the hub lost nothing"),
            Action::LocalLost { .. } => panic!("nothing was lost here"),
        }
    }

    fn send(&mut self) {
        while !self.crashed && self.rng.u8(..) > 20 {
            let Some(order) = self.machine.next_order(self.now) else { return };
            if self.missing(order.seq) {
                self.feed(Event::Gap { from: order.seq, to: order.seq });
                continue;
            }
            let expected = (order.guard == Guard::Position)
                .then(|| self.positions.get(&self.subject(order.seq)).copied().expect("position was asked for"));
            assert!(self.world.chains || !matches!(order.guard, Guard::After(_)), "a chain: {order:?}");
            let silent = self.world.silent && self.machine.may_go_unanswered(&order) && self.rng.u8(..) < 200;
            self.transmit(Packet::Publish { life: self.life, order, expected, silent });
            self.sent.insert(order.seq);
            self.feed(Event::Sent { seq: order.seq, bytes: 100 });
        }
    }

    fn cut(&mut self, late: bool) {
        if !self.up {
            return;
        }
        self.up = false;
        let old = self.connections.last_mut().expect("up has a connection");
        let kept = if late { self.rng.usize(..=old.len()) } else { 0 };
        old.truncate(kept);
        if self.connections.len() > 3 {
            self.connections.remove(0);
        }
        self.feed(Event::LinkDown);
    }

    fn connect(&mut self) {
        if !self.up {
            self.up = true;
            self.session += 1;
            self.connections.push(VecDeque::new());
            self.machine.chain_messages(self.world.chains);
            self.machine.link_drains(self.world.silent.then_some(Drain { rate: 1e7, trip: Duration::from_micros(1) }));
            self.feed(Event::LinkUp(self.session));
        }
    }

    /// The uplink dies and starts again from what is on disk.
    fn crash(&mut self) {
        if self.saving.is_some() && self.rng.bool() {
            self.disk = self.saving.take().unwrap_or_default();
        }
        if let Some(seq) = self.burying.take()
            && self.rng.bool()
        {
            self.buried.insert(seq);
        }
        if let Some(plan) = self.planning.take()
            && self.rng.bool()
        {
            self.disk_plan = plan;
        }
        self.saving = None;
        self.life += 1;
        self.up = false;
        self.positions.clear();
        self.sent.clear();
        let settings = settings(&self.world, &mut self.rng);
        self.planner = Planner::new(self.order, self.disk_plan.clone(), self.committed);
        self.machine = Machine::new(settings, self.disk, self.planner.told(), self.rng.u64(..));
        self.told();
        self.feed(Event::Tick);
    }

    fn lost(&self, last: u64) -> bool {
        let Cursor { held, held_position, .. } = self.machine.cursor();
        let other = |at: &Held| at.position == held_position && at.seq != Some(held);
        last < held
            && held_position > 0
            && (self.hub.last_position < held_position || self.hub.stream.iter().any(other))
    }

    /// The hub processes the next packet of connection `at`.
    fn process(&mut self, at: usize, calm: bool) {
        let Some(packet) = self.connections[at].pop_front() else { return };
        if !calm && self.hub_refusing && self.rng.u8(..) < 120 {
            // Refused or lost, each message for itself: what is behind it may still be taken.
            if let Packet::Publish { life, order: Order { run, seq, .. }, silent: false, .. } = packet
                && self.rng.bool()
            {
                self.replies.push((life, Event::Ack { run, seq, result: AckResult::Temporary }));
            }
            return;
        }
        let (life, event) = match packet {
            Packet::Publish { life, order, expected, silent } => {
                let result = self.hub.publish(self.now, &self.world, life, &order, expected);
                if silent {
                    return;
                }
                (life, Event::Ack { run: order.run, seq: order.seq, result })
            }
            Packet::Ask { life, run } => {
                let last = self.hub.stream.iter().rev().find_map(|held| Some((held.seq?, held.position)));
                let answer = match self.world.answers {
                    true => HubAnswer::Held {
                        last,
                        lost: self.lost(last.map_or(0, |(seq, _)| seq)),
                        local_first: self.trimmed + 1,
                    },
                    false => HubAnswer::Unknown,
                };
                (life, Event::Answer { run, answer })
            }
            Packet::AskPosition { life, run, seq } => {
                let held = self.hub.last_of(self.subject(seq));
                let last = held.and_then(|held| Some((held.seq?, held.position)));
                (life, Event::Position { run, seq, last })
            }
        };
        if calm || self.rng.u8(..) > 12 {
            if !calm && self.rng.u8(..) < 12 {
                self.replies.push((life, event.clone()));
            }
            self.replies.push((life, event));
        }
    }

    fn reply(&mut self, calm: bool) {
        if self.replies.is_empty() || !self.up {
            return;
        }
        let at = if calm || self.rng.bool() { 0 } else { self.rng.usize(..self.replies.len()) };
        let (life, event) = self.replies.remove(at);
        if life == self.life {
            if let Event::Ack { run, seq, result: AckResult::Stored { position, .. } } = &event
                && self.machine.accepts(*run)
            {
                // What the ack implies lies at positions that nobody told.
                let behind = self.sent.split_off(&(seq + 1));
                for implied in std::mem::replace(&mut self.sent, behind) {
                    self.positions.remove(&self.subject(implied));
                }
                let known = self.positions.entry(self.hub.local(*seq) % SUBJECTS).or_default();
                *known = (*known).max(*position);
            }
            if let Event::Position { run, seq, last } = &event
                && self.machine.awaits_position(*run, *seq)
            {
                self.positions.insert(self.subject(*seq), last.map_or(0, |(_, position)| position));
            }
            self.feed(event);
        }
    }

    fn finish_disk(&mut self) {
        if let Some(cursor) = self.saving.take() {
            self.disk = cursor;
            self.feed(Event::Saved(cursor));
        }
        if let Some(plan) = self.planning.take() {
            let saved = self.rng.u8(..) > 20;
            if saved {
                self.disk_plan = plan;
            }
            self.planner.saved(saved);
            self.go_on(true);
        }
        if let Some(seq) = self.burying.take() {
            self.buried.insert(seq);
            self.feed(Event::Buried(seq));
        }
    }

    fn chaos(&mut self) {
        match self.rng.u8(..) {
            0..30 => {
                self.committed += if self.rng.u8(..) < 12 { self.rng.u64(1..120) } else { self.rng.u64(1..6) };
                let online = self.rng.u8(..) > 40;
                self.go_on(online);
            }
            30..130 if self.up => self.process(self.connections.len() - 1, false),
            30..130 => self.connect(),
            130..150 if !self.connections.is_empty() => {
                let at = self.rng.usize(..self.connections.len());
                self.process(at, false);
            }
            150..200 => self.reply(false),
            200..215 => {
                self.now += Duration::from_millis(self.rng.u64(1..2000));
                let event = [Event::Tick, Event::Held, Event::Unsaved][self.rng.usize(..3)].clone();
                self.feed(event);
            }
            215..225 => self.finish_disk(),
            225..229 => self.cut(true),
            229..231 => {
                self.cut(true);
                self.hub.restart(self.now, self.world.hub_window);
            }
            231..233 => self.crash(),
            233..236 => self.hub_refusing = self.world.refuses && !self.hub_refusing,
            236..244 if self.world.foreign => {
                self.hub.store(self.now, None);
            }
            244 if self.world.rollback => {
                self.cut(false);
                self.connections.clear();
                self.replies.clear();
                let keep = self.hub.stream.len() - self.rng.usize(..=self.hub.stream.len().min(6));
                self.hub.stream.truncate(keep);
                self.hub.last_position = self.hub.stream.last().map_or(0, |held| held.position);
                let left: BTreeSet<u64> = self.hub.stream.iter().filter_map(|held| held.seq).collect();
                self.hub.seen.retain(|seq, _| left.contains(seq));
                self.hub.last_id = self.hub.stream.last().map(|held| held.seq);
                self.hub.restart(self.now, self.world.hub_window);
            }
            246..=252 if self.world.sparse && self.committed > SUBJECTS => {
                let newest = self.committed - SUBJECTS;
                let oldest = newest.saturating_sub(40).max(1);
                self.superseded.insert(self.rng.u64(oldest..=newest));
            }
            245 if self.world.answers => self.now += self.world.hub_window,
            _ => {}
        }
    }

    /// No more faults: everything must arrive.
    fn calm(&mut self) {
        for _ in 0..20_000 {
            self.connect();
            while !self.connections.iter().all(VecDeque::is_empty) {
                for at in 0..self.connections.len() {
                    self.process(at, true);
                }
            }
            while !self.replies.is_empty() {
                self.reply(true);
            }
            self.finish_disk();
            self.go_on(true);
            if self.machine.settled() && self.machine.committed() == self.committed {
                return;
            }
            self.send();
            if let Some(deadline) = self.machine.deadline()
                && self.connections.iter().all(VecDeque::is_empty)
            {
                self.now = self.now.max(deadline);
            }
            self.feed(Event::Tick);
        }
        panic!("no progress: {:?} at {:?} of {}", self.machine.phase(), self.machine.cursor(), self.committed);
    }
}

/// Runs the world of `seed`; returns how many atomic batches its last uplink has seen stored, and how many messages went
/// before an older one.
fn run(seed: u64, order: DrainOrder) -> (u64, u64) {
    let mut sim = Sim::new(seed, order);
    let steps = 400 + sim.rng.usize(..800);
    for _ in 0..steps {
        sim.chaos();
    }
    sim.calm();
    sim.check();
    let moved = sim.hub.line.iter().filter(|(place, (seq, _))| *place < seq).count();
    (sim.machine.counters().batches, moved as u64)
}

fn every_seed(order: DrainOrder) {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    if let Some(seed) = number("LEAFD_SIM_SEED") {
        run(seed, order);
        return;
    }
    let mut totals = (0, 0);
    for seed in 0..number("LEAFD_SIM_SEEDS").unwrap_or(1000) {
        match std::panic::catch_unwind(|| run(seed, order)) {
            Ok((batches, moved)) => totals = (totals.0 + batches, totals.1 + moved),
            Err(panic) => {
                eprintln!("failing seed: LEAFD_SIM_SEED={seed}, {order:?}, {:?}", Sim::new(seed, order).world);
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(totals.0 > 0, "no batch was ever stored");
    assert_eq!(totals.1 > 0, order != DrainOrder::Oldest, "what is newer goes before what is older: {totals:?}");
}

#[test]
fn every_message_once_and_in_order_whatever_happens() {
    every_seed(DrainOrder::Oldest);
}

#[test]
fn every_message_once_with_the_newest_first() {
    every_seed(DrainOrder::Newest);
}

#[test]
fn every_message_once_with_what_is_live_first() {
    every_seed(DrainOrder::Live);
}

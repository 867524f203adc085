//! Which messages get a place in line next.

use super::{Plan, Way};
use crate::config::uplink::DrainOrder;
use std::sync::Arc;

/// Ranges of messages that may wait for a place. From there on whole ranges get theirs, so that there are never many more.
const MOST_RANGES: usize = 32;
/// Pieces that may be in line; they go as messages are confirmed.
const MOST_PIECES: usize = 1024;

/// The plan of one uplink, and what decides how it goes on. A plan counts once it is on disk.
#[derive(Debug)]
pub struct Planner {
    order: DrainOrder,
    plan: Arc<Plan>,
    /// While the line's end is open: up to here messages may be sent.
    told: u64,
    online: bool,
    /// What is newer came while messages could be sent.
    live_from: u64,
    saving: Option<Plan>,
}

/// What the planner needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Local messages up to here are on disk.
    pub committed: u64,
    /// Places up to here were sent, as far as is known.
    pub sent: u64,
    /// Places before this one will not be asked for any more: that is on disk.
    pub kept: u64,
    /// Messages that are planned at once.
    pub block: u64,
}

impl Planner {
    /// Goes on with `plan` as it was on disk, with local messages up to `committed`: all that is in line may have been sent.
    pub fn new(order: DrainOrder, plan: Plan, committed: u64) -> Planner {
        let told = plan.planned(committed);
        Planner { order, plan: Arc::new(plan), told, online: false, live_from: committed, saving: None }
    }

    /// The plan that counts.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The last place in line that may be sent.
    pub fn told(&self) -> u64 {
        self.told
    }

    /// Whether messages can be sent now, with local messages up to `committed`.
    pub fn online(&mut self, online: bool, committed: u64) {
        if online && !self.online {
            self.live_from = committed;
        }
        self.online = online;
    }

    /// Goes on. What is returned is to be written to disk, and then told by [`Planner::saved`]; until then nothing changes.
    pub fn step(&mut self, step: Step) -> Option<Plan> {
        if self.saving.is_some() {
            return None;
        }
        let plan = if self.plan.is_closed() { self.plan_block(step)? } else { self.close(step)? };
        self.saving = Some(plan.clone());
        Some(plan)
    }

    /// The plan last returned is on disk, or not.
    pub fn saved(&mut self, saved: bool) {
        if let Some(plan) = self.saving.take().filter(|_| saved) {
            self.told = if plan.is_closed() { plan.planned(0) } else { self.told.max(plan.planned(0)) };
            self.plan = Arc::new(plan);
        }
    }

    /// Lets messages go in their own order, or ends that when older ones than the newest would have to wait.
    fn close(&mut self, Step { committed, sent, kept, block }: Step) -> Option<Plan> {
        if self.order == DrainOrder::Oldest {
            self.told = self.told.max(committed);
            // What was left of another order is done.
            let done = self.plan.pieces() > 0 && kept > self.plan.planned(0);
            return done.then(Plan::default);
        }
        if self.online {
            self.told = self.told.max(committed.min(sent.max(self.plan.planned(0)) + block));
        }
        let behind = self.order == DrainOrder::Newest && committed > self.told + block;
        // Without a link at once, before anything comes: what is stored when the gateway dies may all have been sent otherwise.
        (behind || !self.online).then(|| {
            let mut plan = (*self.plan).clone();
            plan.forget(kept);
            plan.close(self.told);
            plan.arrived(committed);
            plan
        })
    }

    fn plan_block(&self, Step { committed, sent, kept, block }: Step) -> Option<Plan> {
        let oldest = self.order == DrainOrder::Oldest;
        let enough = self.told.saturating_sub(sent) > block / 2 || self.plan.pieces() >= MOST_PIECES;
        if !oldest && (enough || !self.online) {
            return None;
        }
        let mut plan = (*self.plan).clone();
        plan.forget(kept);
        plan.arrived(committed);
        loop {
            let ranges: Vec<_> = plan.waiting(committed).collect();
            let Some((first, last, way)) = self.choose(&ranges, block.max(1)) else { break };
            plan.append(first, last, way);
            if !oldest {
                break;
            }
        }
        plan.open();
        (plan != *self.plan).then_some(plan)
    }

    fn choose(&self, ranges: &[(u64, u64)], block: u64) -> Option<(u64, u64, Way)> {
        let (&lowest, &highest) = (ranges.first()?, ranges.last()?);
        let whole = ranges.len() >= MOST_RANGES;
        Some(match self.order {
            DrainOrder::Oldest => (lowest.0, lowest.1, Way::Forward),
            DrainOrder::Newest if whole => (highest.0, highest.1, Way::Backward),
            DrainOrder::Newest => (highest.0.max((highest.1 + 1).saturating_sub(block)), highest.1, Way::Backward),
            DrainOrder::Live if whole => (lowest.0, lowest.1, Way::Forward),
            DrainOrder::Live => {
                let live = ranges.iter().find(|range| range.1 > self.live_from);
                let (first, last) = live.map_or(lowest, |range| (range.0.max(self.live_from + 1), range.1));
                (first, last.min(first + block - 1), Way::Forward)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(planner: &mut Planner, committed: u64, sent: u64, block: u64) {
        while planner.step(Step { committed, sent, kept: 0, block }).is_some() {
            planner.saved(true);
        }
    }

    /// What is sent in which order if `live` new messages come after every ten sent, `lives` times.
    fn drain(planner: &mut Planner, mut committed: u64, (live, mut lives): (u64, u64)) -> Vec<u64> {
        let mut line = Vec::new();
        let mut sent = planner.told();
        while sent < committed {
            step(planner, committed, sent, 8);
            for _ in 0..10 {
                if sent < planner.told() {
                    sent += 1;
                    line.push(planner.plan().at(sent).seq);
                }
                step(planner, committed, sent, 8);
            }
            committed += if lives > 0 { live } else { 0 };
            lives = lives.saturating_sub(1);
        }
        line
    }

    /// A hundred messages were sent; then the link is down while another hundred come.
    fn outage(order: DrainOrder) -> Planner {
        let mut planner = Planner::new(order, Plan::default(), 0);
        planner.online(true, 0);
        for committed in 1..=100 {
            step(&mut planner, committed, committed - 1, 8);
            assert_eq!(planner.told(), committed);
        }
        planner.online(false, 100);
        step(&mut planner, 200, 100, 8);
        planner.online(true, 200);
        planner
    }

    #[test]
    fn the_newest_go_first() {
        let line = drain(&mut outage(DrainOrder::Newest), 200, (0, 0));
        assert_eq!(line, (101..=200).rev().collect::<Vec<_>>());
        let mut planner = outage(DrainOrder::Newest);
        let line = drain(&mut planner, 200, (3, 5));
        assert_eq!((line[0], line.len()), (200, 115));
        let at = |seq| line.iter().position(|at| *at == seq).expect("it is in line");
        assert!(at(203) < 20 && at(201) < at(150) && at(215) < at(110), "{line:?}");
        step(&mut planner, 300, 215, 8);
        assert!(!planner.plan().is_closed() || planner.told() < 300, "with no backlog nothing is planned");
    }

    #[test]
    fn what_is_live_goes_first_and_the_backlog_in_its_order() {
        let line = drain(&mut outage(DrainOrder::Live), 200, (5, 8));
        let backlog: Vec<_> = line.iter().copied().filter(|seq| *seq <= 200).collect();
        let live: Vec<_> = line.iter().copied().filter(|seq| *seq > 200).collect();
        assert_eq!((backlog, live), ((101..=200).collect(), (201..=240).collect()));
        let at = |seq| line.iter().position(|at| *at == seq).expect("it is in line");
        assert!(at(201) < 25 && at(240) < at(190), "{line:?}");
    }

    #[test]
    fn the_oldest_go_first_and_nothing_is_ever_written() {
        let mut planner = Planner::new(DrainOrder::Oldest, Plan::default(), 0);
        assert_eq!(planner.step(Step { committed: 500, sent: 0, kept: 0, block: 8 }), None);
        assert_eq!(planner.told(), 500);
        // The order was another one before.
        let plan = outage(DrainOrder::Newest).plan().clone();
        let mut planner = Planner::new(DrainOrder::Oldest, (*plan).clone(), 210);
        step(&mut planner, 210, 100, 8);
        assert_eq!((planner.told(), planner.plan().is_closed()), (210, false));
        assert_eq!(
            (101..=210).map(|place| planner.plan().at(place).seq).collect::<Vec<_>>(),
            (101..=210).collect::<Vec<_>>()
        );
    }

    #[test]
    fn what_comes_without_a_link_waits_also_if_the_gateway_dies_meanwhile() {
        let mut planner = Planner::new(DrainOrder::Newest, Plan::default(), 0);
        planner.online(true, 0);
        step(&mut planner, 10, 10, 8);
        planner.online(false, 10);
        let plan = planner.step(Step { committed: 10, sent: 10, kept: 0, block: 8 }).expect("closed at once");
        assert_eq!(planner.step(Step { committed: 10, sent: 10, kept: 0, block: 8 }), None);
        let mut planner = Planner::new(DrainOrder::Newest, plan, 30);
        planner.online(true, 30);
        assert_eq!(drain(&mut planner, 30, (0, 0)), (11..=30).rev().collect::<Vec<_>>());
        assert!(!planner.plan().is_closed(), "with nothing left to plan its end is open");
    }

    #[test]
    fn a_plan_that_is_not_on_disk_does_not_count() {
        let mut planner = outage(DrainOrder::Newest);
        let told = planner.told();
        let asked = Step { committed: 200, sent: 100, kept: 0, block: 8 };
        assert!(planner.step(asked).is_some());
        assert_eq!((planner.step(asked), planner.told()), (None, told), "one at a time");
        planner.saved(false);
        assert_eq!(planner.told(), told);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        for order in [DrainOrder::Newest, DrainOrder::Live] {
            let mut planner = outage(order);
            let (mut committed, mut sent) = (200, 100);
            for round in 0..2000 {
                planner.online(round % 3 > 0, committed);
                committed += 20;
                if let Some(plan) = planner.step(Step { committed, sent, kept: sent, block: 8 }) {
                    planner.saved(true);
                    assert!(plan.waiting(committed).count() <= MOST_RANGES + 2, "{order:?}");
                    assert!(serde_json::to_vec(&plan).expect("encoded").len() < 4096);
                }
                sent = planner.told().min(sent + 10);
            }
        }
    }
}

//! Putting subjects that were not used lately out of memory, a bounded number at a time: a hand goes over them in their order, passes
//! those that were used since it came last, and takes the others to the blocks where they belong.

use super::block::{Builder, Walk};
use super::cold::Cold;
use super::hot::{Hot, SHADOW, USED};
use super::{SubjectInfo, Subjects};
use crate::store::StoreError;
use std::cmp::Ordering;
use std::ops::Range;

/// Subjects that are looked at in one step, at most,
const VISITS: usize = 4096;
/// and blocks that are written anew for them: about a millisecond's worth.
const BLOCKS: usize = 16;
/// Bytes of memory that a publish makes free where the commit thread has not come to it, at most.
const LITTLE: u64 = 64 * 1024;
/// Bytes of memory of a subject beside its name, about.
const EACH: usize = 32;

/// What a step has come to.
pub struct Step {
    /// Bytes that are given back.
    pub freed: u64,
    /// The hand has come to the end, and begins anew.
    pub round: bool,
    /// What was in the way; those that it concerns stay in memory.
    pub error: Option<StoreError>,
}

impl Subjects {
    /// Does one step. What was appended after `committed` stays, as it may be taken back.
    pub fn evict(&mut self, committed: u64) -> Step {
        let mut step = Step { freed: 0, round: false, error: None };
        let cold = match &mut self.cold {
            Some(cold) => cold,
            None => match Cold::new(&self.budget) {
                Ok(cold) => self.cold.insert(Box::new(cold)),
                Err(error) => return Step { error: Some(error), ..step },
            },
        };
        let (victims, range) = choose(&mut self.hot, cold, &mut self.hand, committed, &mut step);
        let mut groups: Vec<(usize, Range<usize>)> = Vec::new();
        for (at, number) in victims.iter().enumerate() {
            let block = cold.block_of(self.hot.name(*number));
            match groups.last_mut() {
                Some((last, range)) if *last == block => range.end = at + 1,
                _ => groups.push((block, at..at + 1)),
            }
        }
        // From behind, as a block may become several.
        for (block, range) in groups.into_iter().rev() {
            let moved = &victims[range];
            let replaced = merge(&self.hot, moved, cold, block).and_then(|all| cold.replace(block, &all));
            match replaced {
                Ok(()) => {
                    for number in moved {
                        step.freed += (EACH + self.hot.name(*number).len()) as u64;
                        self.hot.forget(*number);
                    }
                }
                Err(error) => step.error = Some(error),
            }
        }
        self.hot.reuse(range);
        self.hot.tidy_at_last();
        self.count();
        step
    }
}

impl Subjects {
    /// Gives a little memory back where all is used, and this index has its share of it. What is in the way is told at the next
    /// occasion.
    pub fn relieve(&mut self, committed: u64) {
        if !self.budget.is_full() || self.evictable() < self.budget.share() {
            return;
        }
        self.make_room();
        let goal = self.budget.used().saturating_sub(self.budget.max()) + self.budget.share().min(LITTLE);
        let (mut freed, mut rounds) = (0, 0);
        while self.budget.is_full() && freed < goal && rounds < 2 {
            let step = self.evict(committed);
            freed += step.freed;
            rounds += usize::from(step.round);
            if step.error.is_some() {
                break;
            }
        }
    }
}

/// Those to be put out, in order, and where in it all stand that were looked at.
fn choose(hot: &mut Hot, cold: &Cold, hand: &mut Vec<u8>, committed: u64, step: &mut Step) -> (Vec<u32>, Range<usize>) {
    let (mut victims, mut used) = (Vec::new(), Vec::new());
    let (sorted, entries) = hot.sorted();
    let from = sorted.partition_point(|n| entries.name(*n) < &**hand);
    let rest = &sorted[from..];
    let (mut blocks, mut latest) = (0, None);
    let mut visited = 0;
    for number in rest.iter().copied().take(VISITS) {
        let info = entries.info(number);
        if entries.flags(number) & USED > 0 {
            used.push(number);
        } else if entries.is_kept(number) && (info.count == 0 || info.last <= committed) {
            let block = cold.block_of(entries.name(number));
            blocks += usize::from(latest.replace(block) != Some(block));
            if blocks > BLOCKS {
                break;
            }
            victims.push(number);
        }
        visited += 1;
    }
    hand.clear();
    match rest.get(visited) {
        Some(next) => hand.extend_from_slice(entries.name(*next)),
        None => step.round = true,
    }
    for number in used {
        hot.set_flags(number, hot.flags(number) & !USED);
    }
    (victims, from..from + visited)
}

/// The subjects of a block with those that are `moved` there, as one block.
fn merge(hot: &Hot, moved: &[u32], cold: &mut Cold, block: usize) -> Result<Builder, StoreError> {
    let mut all = Builder::default();
    let mut old = Walk::new(cold.read(block)?);
    let mut more = old.next().is_some();
    let mut moved =
        moved.iter().filter_map(|n| Some((std::str::from_utf8(hot.name(*n)).ok()?, hot.info(*n)))).peekable();
    loop {
        let there = more.then(|| old.current());
        let order = match (moved.peek(), there) {
            (None, None) => return Ok(all),
            (Some((new, _)), Some((there, _))) => (*new).cmp(there),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
        };
        let (name, info) = match order {
            Ordering::Greater => there,
            Ordering::Less | Ordering::Equal => moved.next(),
        }
        .unwrap_or(("", SubjectInfo { first: 0, last: 0, count: 0 }));
        if info.count > 0 {
            all.push(name, info);
        }
        more = if order == Ordering::Less { more } else { old.next().is_some() };
    }
}

/// The flags of a subject that was just used, and of which another one may be in a block.
pub(super) fn fresh(is_shadow: bool) -> u8 {
    if is_shadow { USED | SHADOW } else { USED }
}

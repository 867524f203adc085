//! What is counted into subjects, or out of them, where they do not all fit into memory: one part of it after the other is put in
//! order and written to disk, as a run, and in the end all runs are merged with the subjects. So each subject is read and written
//! once, whatever order it came in.

use super::block::{Builder, Walk};
use super::budget::Budget;
use super::load::Loader;
use super::spill::{Slot, SpillFile};
use super::{SubjectInfo, Subjects};
use crate::store::StoreError;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Bytes of a block, of which each run has one in memory while all are merged.
const BLOCK: usize = 4096;
/// Most runs that are merged at once.
const MOST: usize = 256;

/// The runs.
pub(in crate::store) struct Runs {
    budget: Arc<Budget>,
    file: Option<SpillFile>,
    runs: Vec<Run>,
}

/// Subjects in order.
struct Run {
    slots: Vec<Slot>,
    /// They are counted out: what is known of each is the last sequence, and how many.
    out: bool,
}

impl Runs {
    pub fn new(budget: &Arc<Budget>) -> Runs {
        Runs { budget: budget.clone(), file: None, runs: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether they are to be merged before there are more.
    pub fn is_full(&self) -> bool {
        self.runs.len() >= MOST
    }

    /// Adds a run: each of the subjects once, in any order.
    ///
    /// # Errors
    /// It cannot be written: nothing was added.
    pub fn add(&mut self, mut subjects: Vec<(&str, SubjectInfo)>, out: bool) -> Result<(), StoreError> {
        subjects.sort_unstable_by_key(|(name, _)| *name);
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(self.budget.spill_file()?),
        };
        let mut slots = Vec::new();
        let mut block = Builder::default();
        for (name, info) in subjects {
            block.push(name, info);
            if block.bytes.len() >= BLOCK {
                slots.push(file.write(&std::mem::take(&mut block).bytes)?);
            }
        }
        if block.subjects > 0 {
            slots.push(file.write(&block.bytes)?);
        }
        self.runs.push(Run { slots, out });
        Ok(())
    }

    /// Counts all runs in or out, after which there are none; `there` tells whether a record is. Tells which subjects lost their last
    /// record: the one before it has to be looked for.
    ///
    /// # Errors
    /// The subjects, or a run, cannot be read.
    pub fn merge(
        &mut self,
        subjects: &mut Subjects,
        there: impl Fn(u64) -> bool,
        mend: &mut Vec<Box<str>>,
    ) -> Result<(), StoreError> {
        let runs = std::mem::take(&mut self.runs);
        let Some(file) = self.file.take().filter(|_| !runs.is_empty()) else { return Ok(()) };
        let mut heads = Heads::new(&file, &runs)?;
        let mut loader = Loader::new(&self.budget);
        let mut put = |name: &str, sum: Sum| {
            if let Some((info, lost)) = sum.outcome(&there) {
                // In order, as all of them are.
                let _ = loader.add(name, info);
                if lost {
                    mend.push(name.into());
                }
            }
        };
        let failed = subjects.each(">", |name, info| {
            let mut step = || {
                while let Some((other, sum)) = heads.take(|head| head < name)? {
                    put(&other, sum);
                }
                let mut sum = Sum { there: Some(info), ..Sum::default() };
                if let Some((_, more)) = heads.take(|head| head == name)? {
                    sum.add(more);
                }
                put(name, sum);
                Ok(())
            };
            step().map_or_else(ControlFlow::Break, ControlFlow::Continue)
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        while let Some((name, sum)) = heads.take(|_| true)? {
            put(&name, sum);
        }
        *subjects = loader.finish();
        Ok(())
    }
}

/// What is counted of a subject.
#[derive(Default)]
struct Sum {
    there: Option<SubjectInfo>,
    /// How many are counted out, and the last of them.
    out: (u64, u64),
}

impl Sum {
    fn add(&mut self, other: Sum) {
        self.there = match (self.there, other.there) {
            (Some(a), Some(b)) => Some(a.and(b)),
            (a, b) => a.or(b),
        };
        self.out = (self.out.0 + other.out.0, self.out.1.max(other.out.1));
    }

    /// What is left of the subject, if it is there at all, and whether it lost its last record.
    fn outcome(self, there: impl Fn(u64) -> bool) -> Option<(SubjectInfo, bool)> {
        let mut info = self.there?;
        info.count = info.count.checked_sub(self.out.0).filter(|count| *count > 0)?;
        let lost = self.out.0 > 0 && self.out.1 == info.last;
        if self.out.0 > 0 && info.count == 1 && !lost && there(info.last) {
            info.first = info.last;
        }
        Some((info, lost))
    }
}

/// The first subject of each run that was not taken.
struct Heads<'a> {
    file: &'a SpillFile,
    rest: Vec<Rest<'a>>,
    /// Names, and the run of each.
    heap: BinaryHeap<Reverse<(String, usize)>>,
}

/// A run as far as it was not taken.
struct Rest<'a> {
    walk: Walk<Vec<u8>>,
    slots: &'a [Slot],
    out: bool,
}

impl Rest<'_> {
    /// Goes on to the next one; `false` if there is none.
    fn advance(&mut self, file: &SpillFile) -> Result<bool, StoreError> {
        while self.walk.next().is_none() {
            let [slot, slots @ ..] = self.slots else { return Ok(false) };
            (self.walk, self.slots) = (Walk::new(file.read(*slot)?), slots);
        }
        Ok(true)
    }
}

impl<'a> Heads<'a> {
    fn new(file: &'a SpillFile, runs: &'a [Run]) -> Result<Heads<'a>, StoreError> {
        let mut heads = Heads { file, rest: Vec::new(), heap: BinaryHeap::new() };
        for (number, run) in runs.iter().enumerate() {
            let mut rest = Rest { walk: Walk::new(Vec::new()), slots: &run.slots, out: run.out };
            if rest.advance(file)? {
                heads.heap.push(Reverse((rest.walk.current().0.to_owned(), number)));
            }
            heads.rest.push(rest);
        }
        Ok(heads)
    }

    /// Takes the first name of all, if it is `wanted`, and what all runs count of it.
    fn take(&mut self, wanted: impl Fn(&str) -> bool) -> Result<Option<(String, Sum)>, StoreError> {
        let Some(Reverse((name, _))) = self.heap.peek().filter(|head| wanted(&head.0.0)) else { return Ok(None) };
        let (name, mut sum) = (name.clone(), Sum::default());
        while let Some(mut head) = self.heap.peek_mut()
            && head.0.0 == name
        {
            let rest = &mut self.rest[head.0.1];
            let (_, info) = rest.walk.current();
            sum.add(match rest.out {
                true => Sum { there: None, out: (info.count, info.last) },
                false => Sum { there: Some(info), out: (0, 0) },
            });
            if rest.advance(self.file)? {
                let next = &mut head.0.0;
                next.clear();
                next.push_str(rest.walk.current().0);
            } else {
                std::collections::binary_heap::PeekMut::pop(head);
            }
        }
        Ok(Some((name, sum)))
    }
}

//! Removing records: one by one, by a purge, and from the front.

use super::options::Purge;
use super::{Log, size_of};
use crate::store::StoreError;
use crate::store::tombstones::Tomb;
use crate::subject;

impl Log {
    /// Removes committed records; returns how many there were. Durable with the next commit ([`super::Store::barrier`]).
    ///
    /// # Errors
    /// A record that is to be removed cannot be read; those before it are removed.
    pub fn remove(&self, seqs: &[u64]) -> Result<u64, StoreError> {
        let mut found = Vec::with_capacity(seqs.len());
        let mut failure = None;
        for &seq in seqs {
            match self.read(seq) {
                Ok(Some(s)) => found.push((seq, s.subject.clone(), size_of(&s))),
                Ok(None) => {}
                Err(error) => failure = Some(error),
            }
        }
        let count = self.strike(found, true);
        failure.map_or(Ok(count), Err)
    }

    /// Takes records out of the books, deletes what segments that empties, and has the removals written if `note`.
    pub(in crate::store) fn strike(&self, records: Vec<(u64, Box<str>, u64)>, note: bool) -> u64 {
        let mut mend = Vec::new();
        let mut count = 0;
        let gone = {
            let mut state = self.0.state();
            for (seq, subject, size) in records {
                if state.strike(seq, &subject, size, &mut mend) {
                    count += 1;
                    if note {
                        Tomb::push(&mut state.tombs, seq);
                    }
                }
            }
            if note && count > 0 {
                self.queue(&mut state);
            }
            state.settle()
        };
        self.delete(gone);
        for subject in mend {
            self.mend_last(&subject);
        }
        count
    }

    /// Purges; returns how many records went.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn purge(&self, purge: &Purge) -> Result<u64, StoreError> {
        let state = self.state();
        let filter = purge.filter.as_deref().filter(|f| *f != ">");
        let below = purge.below_seq.unwrap_or(u64::MAX).min(state.committed + 1);
        if filter.is_none() {
            let below = match purge.keep {
                Some(keep) => below.min(self.nth_from_end(keep)?),
                None => below,
            };
            return Ok(self.trim(below));
        }
        let filter = filter.unwrap_or(">");
        let mut reader = self.reader();
        let mut chosen = Vec::new();
        while let Some(stored) = reader.next(&|s| subject::matches(filter, s))? {
            if stored.seq >= below {
                break;
            }
            chosen.push((stored.seq, stored.subject.clone(), size_of(&stored)));
        }
        let keep = purge.keep.unwrap_or(0) as usize;
        chosen.truncate(chosen.len().saturating_sub(keep));
        Ok(self.strike(chosen, true))
    }

    /// The sequence of the record with `keep - 1` records after it.
    fn nth_from_end(&self, keep: u64) -> Result<u64, StoreError> {
        let state = self.0.state();
        let mut seq = state.committed + 1;
        let mut left = keep;
        while left > 0 && seq > state.first {
            seq -= 1;
            left -= u64::from(state.is_live(seq));
        }
        Ok(seq)
    }

    /// Drops everything below `first_seq` (at most what is committed); returns how many records went.
    pub fn trim(&self, first_seq: u64) -> u64 {
        let mut reader = self.reader();
        let mut chosen = Vec::new();
        let (below, first) = {
            let state = self.0.state();
            (first_seq.min(state.committed + 1), state.first)
        };
        if below <= first {
            return 0;
        }
        let mut count = 0;
        // In pieces, so that a large backlog is not held in memory at once.
        loop {
            while chosen.len() < 4096 {
                match reader.next(&|_| true) {
                    Ok(Some(s)) if s.seq < below => chosen.push((s.seq, s.subject.clone(), size_of(&s))),
                    _ => break,
                }
            }
            if chosen.is_empty() {
                break;
            }
            count += self.strike(std::mem::take(&mut chosen), false);
        }
        let mut state = self.0.state();
        // Damaged records are never read, and so go here.
        state.first = state.first.max(below);
        if state.first == state.next {
            (state.msgs, state.bytes) = (0, 0);
        }
        state.tombs.push(Tomb::below(below));
        state.rotate |= state.msgs == 0;
        self.queue(&mut state);
        count
    }
}

//! Sequential reading of what is committed.

use super::io::DiskFile;
use super::log::Inner;
use super::scanner::{Item, Scanner};
use super::segment::CHUNK;
use super::{StoreError, Stored};
use std::sync::Arc;

/// Reads a log from a position on, in big chunks. Removed records are passed over; so are damaged ones, which are put in [quarantine](super::Log::damaged).
pub struct Reader {
    log: Arc<Inner>,
    position: u64,
    open: Option<Open>,
}

struct Open {
    base: u64,
    /// Compaction may put another file in its place.
    file: Arc<dyn DiskFile>,
    scanner: Scanner,
    /// Damage was come across, and what it costs is not known before the next record.
    damaged: bool,
}

impl Reader {
    pub(super) fn new(log: Arc<Inner>) -> Reader {
        Reader { log, position: 0, open: None }
    }

    /// Goes on from `seq`.
    pub fn seek(&mut self, seq: u64) {
        if seq != self.position {
            self.position = seq;
            self.open = None;
        }
    }

    /// The sequence from which [`Reader::next`] goes on.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next committed record at or after the position whose subject `matches`; `None` at the committed end.
    ///
    /// # Errors
    /// The disk cannot be read; the position stays, and the call can be repeated.
    pub fn next(&mut self, matches: &dyn Fn(&str) -> bool) -> Result<Option<Stored>, StoreError> {
        let from = self.position;
        loop {
            if !self.open.as_ref().is_some_and(|open| open.scanner.has_more()) && !self.ready() {
                return Ok(None);
            }
            let Some(open) = &mut self.open else { return Ok(None) };
            let found = match open.scanner.next() {
                Ok(Some(Item::Record(view, _))) => {
                    let (seq, wanted) = (view.seq, view.seq >= from && matches(view.subject));
                    Ok(Some((seq, wanted.then(|| view.to_stored()))))
                }
                Ok(Some(Item::Damage { .. })) => {
                    open.damaged = true;
                    continue;
                }
                Ok(Some(Item::Passed)) => {
                    open.damaged = false;
                    continue;
                }
                Ok(Some(Item::Removals(_))) => continue,
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            };
            let damaged = found.is_ok() && std::mem::take(&mut open.damaged);
            match found {
                Ok(Some((seq, stored))) => {
                    if damaged {
                        self.log.declare_damage(self.position, seq - 1);
                    }
                    self.position = self.position.max(seq + 1);
                    let Some(stored) = stored else { continue };
                    let state = self.log.state();
                    if state.is_live(seq) {
                        return Ok(Some(stored));
                    }
                    if self.position < state.first {
                        // Purged, and so is all of the rest up to there.
                        self.open = None;
                    }
                }
                // The segment is read to its end; a later one can only hold what comes after it.
                Ok(None) => {
                    let Some((last, next)) = self.end() else {
                        self.open = None;
                        continue;
                    };
                    if damaged {
                        self.log.declare_damage(self.position, last);
                    }
                    let Some(next) = next else { return Ok(None) };
                    self.position = self.position.max(next);
                    self.open = None;
                }
                Err(error) => {
                    self.open = None;
                    return Err(StoreError::io("read", &self.log.place.dir, error));
                }
            }
        }
    }

    /// The last sequence of the open segment, and where the next one begins; `None` if it is gone, or part of another one by now.
    fn end(&self) -> Option<(u64, Option<u64>)> {
        let open = self.open.as_ref()?;
        let state = self.log.state();
        let segment = state.segment_of(open.base).filter(|s| Arc::ptr_eq(&s.file, &open.file))?;
        Some((segment.last, state.segment_behind(open.base).map(|s| s.base)))
    }

    /// Opens the segment with the position, or extends it to what is committed by now; `false` if there is nothing.
    fn ready(&mut self) -> bool {
        let state = self.log.state();
        self.position = self.position.max(state.first);
        if self.position > state.committed {
            return false;
        }
        let Some(segment) = state.segment_of(self.position) else { return false };
        match &mut self.open {
            Some(open) if Arc::ptr_eq(&open.file, &segment.file) => open.scanner.extend(segment.len),
            open => {
                let (base, file) = (segment.base, segment.file.clone());
                *open = Some(Open { base, file, scanner: segment.scan(self.position, CHUNK), damaged: false })
            }
        }
        true
    }
}

//! Walking over the records of a segment file, whatever is between them.

use super::coding::Coding;
use super::frame::{self, Parsed};
use super::io::DiskFile;
use super::record::{self, View};
use super::{tombstones, unit};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Walks over the records of a segment file.
pub(super) struct Scanner {
    file: Arc<dyn DiskFile>,
    coding: Arc<Coding>,
    /// Offset of `buffer[0]`.
    offset: u64,
    buffer: Vec<u8>,
    at: usize,
    end: u64,
    after: u64,
    chunk: usize,
    /// Units that end before this sequence are not unpacked.
    wanted: u64,
    /// The records of a unit, unpacked, and how far they have been walked over.
    unpacked: Vec<u8>,
    within: usize,
    /// Where that unit lies.
    unit: Extent,
}

/// Where a record lies: its frame, or that of the unit it is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// Offset of the frame,
    pub from: u64,
    /// and of what follows it.
    pub to: u64,
    /// Last sequence in the frame.
    pub last: u64,
    /// It was compressed.
    pub compressed: bool,
}

impl Extent {
    /// Of a frame at `from` of so many bytes, by itself or compressed.
    pub fn at(from: u64, length: usize, last: u64) -> Extent {
        Extent { from, to: from + length as u64, last, compressed: false }
    }
}

/// What a scan comes across.
pub(super) enum Item<'a> {
    /// A record, and where it lies.
    Record(View<'a>, Extent),
    /// The body of a frame of [removals](tombstones::in_frame).
    Removals(&'a [u8]),
    /// A unit before what is [wanted](Scanner::seek), which was not unpacked.
    Passed,
    /// Bytes that are no record, from this offset to where the next record begins, or to the end.
    Damage { from: u64, at_end: bool },
}

enum Step {
    /// Length and sequence of a record.
    Whole(usize, u64),
    /// Length of a unit, which is unpacked.
    Unit(usize, unit::Head),
    /// The same of one that is passed over.
    Passed(usize, unit::Head),
    /// Length of a frame of removals.
    Removals(usize),
    Bad,
}

impl Scanner {
    /// Of the frames at these `offsets`, whose sequences are above `after`.
    pub fn new(file: Arc<dyn DiskFile>, coding: Arc<Coding>, offsets: Range<u64>, after: u64, chunk: usize) -> Scanner {
        Scanner {
            file,
            coding,
            offset: offsets.start,
            buffer: Vec::new(),
            at: 0,
            end: offsets.end,
            after,
            chunk,
            wanted: 0,
            unpacked: Vec::new(),
            within: 0,
            unit: Extent::default(),
        }
    }

    /// Offset behind the frame of the last item.
    pub fn position(&self) -> u64 {
        self.offset + self.at as u64
    }

    /// What lies before `seq` is of no interest: units that end before it are passed over, their checksums being right.
    pub fn seek(mut self, seq: u64) -> Scanner {
        self.wanted = seq;
        self
    }

    /// Has all of it in memory, if that takes no waiting for the disk, and no more than `most` bytes, also once unpacked. It begins at the record that is
    /// [wanted](Scanner::seek), as far as those before it say where that is: whoever does not find it then must look anew, from the
    /// first one on.
    pub fn load_at_hand(&mut self, most: usize) -> bool {
        let length = self.end - self.offset;
        if length > most as u64 {
            return false;
        }
        self.buffer.resize(length as usize, 0);
        if !self.file.read_at_hand(&mut self.buffer, self.offset) {
            return false;
        }
        while let Some(body) = frame::peek(&self.buffer[self.at..]) {
            let head = unit::head(body);
            let last = record::seq_of(body).or(head.map(|head| head.last));
            if last.is_some_and(|last| last >= self.wanted) {
                // Little may become much.
                return head.is_none_or(|head| head.unpacked() <= most);
            }
            self.at += frame::PREFIX + body.len();
        }
        true
    }

    /// The records may now be read up to `end`.
    pub fn extend(&mut self, end: u64) {
        self.end = end;
    }

    /// Whether the end, as it is known, is not reached.
    pub fn has_more(&self) -> bool {
        self.within < self.unpacked.len() || self.position() < self.end
    }

    /// The next item; `None` at the end.
    pub fn next(&mut self) -> io::Result<Option<Item<'_>>> {
        let (position, step) = loop {
            let position = self.offset + self.at as u64;
            if self.within < self.unpacked.len() {
                return Ok(self.next_of_unit());
            }
            if position >= self.end {
                return Ok(None);
            }
            let step = match frame::parse(&self.buffer[self.at..], self.coding.salt) {
                Parsed::Whole(body, used) => {
                    step(body, used, (self.after, self.wanted), &self.coding, &mut self.unpacked)
                }
                Parsed::Short(wanted) if position + wanted as u64 <= self.end => {
                    self.fill(wanted)?;
                    continue;
                }
                _ => Step::Bad,
            };
            break (position, step);
        };
        match step {
            Step::Whole(used, seq) => {
                let body = &self.buffer[self.at + frame::PREFIX..self.at + used];
                self.at += used;
                return Ok(Some(match record::view(body) {
                    Some(view) => {
                        self.after = seq;
                        Item::Record(view, Extent::at(position, used, seq))
                    }
                    // A frame that is whole, but no record, was not written by us.
                    None => Item::Damage { from: position, at_end: self.offset + self.at as u64 >= self.end },
                }));
            }
            Step::Unit(used, head) => {
                let (to, compressed) = (position + used as u64, head.is_compressed());
                self.unit = Extent { from: position, to, last: head.last, compressed };
                (self.within, self.after) = (0, head.last);
                self.at += used;
                return Ok(self.next_of_unit());
            }
            Step::Passed(used, head) => {
                self.after = head.last;
                self.at += used;
                return Ok(Some(Item::Passed));
            }
            Step::Removals(used) => {
                let body = &self.buffer[self.at + frame::PREFIX..self.at + used];
                self.at += used;
                return Ok(Some(Item::Removals(body)));
            }
            Step::Bad => {}
        }
        // Damage, or a length that cannot be true: look for the next record in all that follows.
        self.fill((self.end - position) as usize)?;
        // Not at the position, where there is none.
        let rest = self.buffer.get(self.at + 1..).unwrap_or_default();
        let found = record::find(rest, self.coding.salt, self.after);
        self.at = found.map_or(self.buffer.len(), |n| self.at + 1 + n);
        if found.is_none() {
            self.end = self.offset + self.at as u64;
        }
        Ok(Some(Item::Damage { from: position, at_end: found.is_none() }))
    }

    fn next_of_unit(&mut self) -> Option<Item<'_>> {
        let (view, used) = unit::next(&self.unpacked[self.within..])?;
        self.within += used;
        Some(Item::Record(view, self.unit))
    }

    /// Has at least `wanted` bytes from the position on in the buffer, or all there are.
    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        self.buffer.drain(..self.at);
        self.offset += self.at as u64;
        self.at = 0;
        let have = self.buffer.len();
        let left = ((self.end - self.offset) as usize).saturating_sub(have);
        let more = wanted.saturating_sub(have).max(self.chunk).min(left);
        self.buffer.resize(have + more, 0);
        let read = self.file.read_full(&mut self.buffer[have..], self.offset + have as u64)?;
        self.buffer.truncate(have + read);
        if read == 0 {
            // The file is shorter than it should be: what is missing counts as damage.
            self.end = self.offset + have as u64;
        }
        Ok(())
    }
}

/// What the frame with this `body` is; a unit is unpacked unless it ends before what is wanted. Sequences ascend; what does not is left
/// of an older write.
fn step(body: &[u8], used: usize, (after, wanted): (u64, u64), coding: &Coding, unpacked: &mut Vec<u8>) -> Step {
    if let Some(seq) = record::seq_of(body) {
        // One that is not sealed where all are is not ours.
        let fits = seq > after && seq < u64::MAX && coding.key.is_none();
        return if fits { Step::Whole(used, seq) } else { Step::Bad };
    }
    if let Some(head) = unit::head(body) {
        if head.first > after && head.last < wanted {
            return Step::Passed(used, head);
        }
        return match head.first > after && head.last < u64::MAX && unit::unpack(body, coding, unpacked).is_some() {
            true => Step::Unit(used, head),
            false => {
                unpacked.clear();
                Step::Bad
            }
        };
    }
    if tombstones::in_frame(body).is_some() { Step::Removals(used) } else { Step::Bad }
}

//! Filling a segment with records of others, as compaction and salvage do.

use super::log::Staged;
use super::record::{Record, View};
use super::scanner::Extent;
use super::segment::Segment;
use super::unit::Packer;
use std::io;

/// Written in pieces of about so many bytes.
const PIECE: usize = 256 * 1024;

/// What is on its way to a segment, which must be the same at each call.
pub(super) struct Writer {
    /// What comes is compressed; to be changed only when nothing waits to be written.
    pub compress: bool,
    packer: Packer,
    staged: Staged,
    /// The sequences written.
    pub kept: Vec<u64>,
}

impl Writer {
    pub fn new(compress: bool) -> Writer {
        Writer { compress, packer: Packer::default(), staged: Staged::default(), kept: Vec::new() }
    }

    /// Appends a record.
    pub fn push(&mut self, view: &View<'_>, to: &mut Segment) -> io::Result<()> {
        let record = Record { subject: view.subject, headers: view.headers, payload: view.payload };
        self.staged.push(&record, view.seq, view.time, view.part, None, to.coding.salt);
        if self.staged.buffer.len() >= PIECE { self.flush(to) } else { Ok(()) }
    }

    /// Writes what has not been written yet; nothing of it is durable.
    pub fn flush(&mut self, to: &mut Segment) -> io::Result<()> {
        self.staged.finish(Vec::new(), to.coding.salt);
        let packed = (self.compress || to.coding.key.is_some())
            .then(|| self.packer.pack(&self.staged, &to.coding, self.compress));
        let at = to.len;
        to.file.write_at(packed.as_ref().map_or(&self.staged.buffer, |packed| &packed.buffer), at)?;
        for (n, entry) in self.staged.entries.iter().enumerate() {
            let (from, length) = packed.as_ref().map_or((entry.at, entry.used), |packed| packed.spans[n]);
            to.note(entry.seq, entry.time, Extent::at(at + from as u64, length, entry.seq));
            self.kept.push(entry.seq);
        }
        self.staged.clear();
        Ok(())
    }
}

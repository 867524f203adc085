//! Reading for a run: what the plan asks for, without the consumer's lock, because it may block on the disk.

use super::backlog::Backlog;
use super::context::Filter;
use super::live::Consumer;
use super::position::Positions;
use super::run::{Buffers, MAX_BYTES};
use crate::store::{StoreError, Stored};
use bytes::Bytes;
use std::sync::Arc;

/// A message that may be delivered by this run; without content if the stream no longer has it.
pub(super) struct Item {
    pub(super) seq: u64,
    pub(super) redelivery: bool,
    pub(super) stored: Option<Stored>,
}

/// What the first look found.
pub(super) struct Plan {
    pub(super) filter: Arc<Filter>,
    pub(super) headers_only: bool,
    /// Sequences to read one by one (last-per-subject).
    pub(super) picks: Vec<u64>,
    pub(super) next: u64,
    /// Messages never delivered that may be now.
    pub(super) new: usize,
    /// Messages that follow what is read here: picks left over, and what comes after them.
    pub(super) resume: u64,
    pub(super) picks_left: u64,
    pub(super) backlog: Backlog,
}

/// What reading found.
pub(super) struct Found {
    /// The stream was read to its end, which was here.
    pub(super) end: Option<u64>,
    /// Messages that pass the filter from the first new one on.
    pub(super) pending: u64,
    /// What that was worked out from.
    pub(super) backlog: Backlog,
    pub(super) failed: bool,
}

impl Consumer {
    /// Reads what the plan asks for.
    pub(super) fn read(self: &Arc<Self>, plan: &Plan, buffers: &mut Buffers, positions: &mut Positions) -> Found {
        let mut found = Found { end: None, pending: 0, backlog: plan.backlog, failed: false };
        if let Err(error) = self.try_read(plan, buffers, positions, &mut found) {
            let (stream, consumer) = (&self.context.stream, &self.name);
            tracing::error!(%error, %stream, %consumer, "messages could not be read; the consumer tries again in a second");
            found.failed = true;
        }
        if plan.headers_only {
            for stored in buffers.items.iter_mut().filter_map(|item| item.stored.as_mut()) {
                stored.headers = headers_with_size(&stored.headers, stored.payload.len());
                stored.payload = Bytes::new();
            }
        }
        let new = buffers.items.iter().filter(|item| !item.redelivery).count() as u64;
        if found.end.is_some() {
            found.pending = new;
        } else if !buffers.items.is_empty() {
            let from = if plan.picks_left > 0 { plan.resume + 1 } else { plan.next };
            let after = found.backlog.at(&self.context.log, &plan.filter, from);
            found.pending = plan.picks_left + after.max(if plan.picks_left > 0 { 0 } else { new });
        }
        found
    }

    fn try_read(
        self: &Arc<Self>,
        plan: &Plan,
        buffers: &mut Buffers,
        positions: &mut Positions,
        found: &mut Found,
    ) -> Result<(), StoreError> {
        let log = &self.context.log;
        let mut bytes = 0;
        for seq in &buffers.due {
            let stored = log.read_sound(*seq)?;
            bytes += stored.as_ref().map_or(0, |s| s.headers.len() + s.payload.len());
            buffers.items.push(Item { seq: *seq, redelivery: true, stored });
            if bytes >= MAX_BYTES {
                return Ok(());
            }
        }
        if plan.new == 0 {
            return Ok(());
        }
        if plan.picks_left > 0 {
            for seq in &plan.picks {
                let stored = log.read_sound(*seq)?;
                bytes += stored.as_ref().map_or(0, |s| s.headers.len() + s.payload.len());
                buffers.items.push(Item { seq: *seq, redelivery: false, stored });
                if bytes >= MAX_BYTES {
                    break;
                }
            }
            return Ok(());
        }
        let committed = log.committed();
        let mut next = plan.next;
        if let Filter::Subject(subject) = &*plan.filter {
            match log.subject_info(subject)?.filter(|info| info.last >= next) {
                Some(info) => next = next.max(info.first),
                None => {
                    found.end = Some(committed);
                    return Ok(());
                }
            }
        }
        if next > committed {
            found.end = Some(committed);
            return Ok(());
        }
        let mut position = positions.take(self, log);
        let mut read = Ok(());
        for _ in 0..plan.new {
            match position.read(next, &|subject| plan.filter.matches(subject)) {
                Ok(Some(stored)) => {
                    next = stored.seq + 1;
                    bytes += stored.headers.len() + stored.payload.len();
                    buffers.items.push(Item { seq: stored.seq, redelivery: false, stored: Some(stored) });
                }
                Ok(None) => {
                    found.end = Some(committed);
                    break;
                }
                Err(error) => {
                    read = Err(error);
                    break;
                }
            }
            if bytes >= MAX_BYTES {
                break;
            }
        }
        positions.keep(self, position);
        read
    }
}

/// The header block of a delivery without its body: the stored headers, and how long the body is.
fn headers_with_size(headers: &[u8], size: usize) -> Bytes {
    let mut block = Vec::new();
    with_header(&mut block, headers, "Nats-Msg-Size", &size.to_string());
    block.into()
}

/// Writes the stored header block, with one more line, into `block`.
pub(super) fn with_header(block: &mut Vec<u8>, headers: &[u8], name: &str, value: &str) {
    block.clear();
    block.extend_from_slice(headers.strip_suffix(b"\r\n").unwrap_or(b"NATS/1.0\r\n"));
    for part in [name, ": ", value, "\r\n\r\n"] {
        block.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_left_out_is_told_by_its_size() {
        assert_eq!(&*headers_with_size(b"", 12), b"NATS/1.0\r\nNats-Msg-Size: 12\r\n\r\n");
        assert_eq!(
            &*headers_with_size(b"NATS/1.0\r\nA: b\r\n\r\n", 0),
            b"NATS/1.0\r\nA: b\r\nNats-Msg-Size: 0\r\n\r\n"
        );
    }
}

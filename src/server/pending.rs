//! What a connection has still to write, and in which order: what is urgent goes between two messages of what has gathered.

/// What has gathered, and nobody is writing yet.
#[derive(Default)]
pub(super) struct Pending {
    pub bytes: Vec<u8>,
    /// What is urgent waits for about this many bytes at most, or for one message if that is larger; 0: for all of them.
    slice: usize,
    /// Ends of appends, one for every slice: there something else may go out.
    ends: Vec<usize>,
    /// Goes out first.
    pub urgent: Vec<u8>,
}

impl Pending {
    /// Nothing.
    pub fn new(slice: usize) -> Pending {
        Pending { slice, ..Pending::default() }
    }

    /// Forgets what there is.
    pub fn clear(&mut self) {
        *self = Pending::new(self.slice);
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.urgent.len()
    }

    /// Notes that an append is complete.
    pub fn mark(&mut self) {
        let end = self.bytes.len();
        if self.slice > 0 && end - self.ends.last().copied().unwrap_or(0) >= self.slice {
            self.ends.push(end);
        }
    }

    /// All of it, to be written; `spare` is gathered into from now on. `None` if there is nothing.
    pub fn take(&mut self, spare: &mut Vec<u8>) -> Option<Writing> {
        if self.len() == 0 {
            return None;
        }
        let bytes = std::mem::replace(&mut self.bytes, std::mem::take(spare));
        let (ends, urgent) = (std::mem::take(&mut self.ends), std::mem::take(&mut self.urgent));
        Some(Writing { bytes, at: 0, ends, urgent, urgent_at: 0 })
    }
}

/// What is being written.
#[derive(Default)]
pub(super) struct Writing {
    pub bytes: Vec<u8>,
    /// Of them written.
    at: usize,
    ends: Vec<usize>,
    urgent: Vec<u8>,
    urgent_at: usize,
}

impl Writing {
    /// Bytes not yet written.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at + self.urgent.len() - self.urgent_at
    }

    /// Whether something urgent may go out now.
    pub fn may_interrupt(&self) -> bool {
        self.urgent_at == self.urgent.len() && (self.at == 0 || self.ends.binary_search(&self.at).is_ok())
    }

    /// Writes this first.
    pub fn interrupt(&mut self, urgent: Vec<u8>) {
        (self.urgent, self.urgent_at) = (urgent, 0);
    }

    /// All that is left of what is written first.
    pub fn rest(&self) -> &[u8] {
        match self.urgent_at < self.urgent.len() {
            true => &self.urgent[self.urgent_at..],
            false => &self.bytes[self.at..],
        }
    }

    /// What to write next, up to where something else may go out.
    pub fn next(&self) -> &[u8] {
        let rest = self.rest();
        let end = self.ends.get(self.ends.partition_point(|end| *end <= self.at));
        match end {
            Some(end) if self.urgent_at == self.urgent.len() => &rest[..end - self.at],
            _ => rest,
        }
    }

    /// So many bytes of [`Writing::next`] are written.
    pub fn wrote(&mut self, bytes: usize) {
        match self.urgent_at < self.urgent.len() {
            true => self.urgent_at += bytes,
            false => self.at += bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_urgent_goes_between_two_messages() {
        let mut pending = Pending::new(16 * 1024);
        for n in 0..10u8 {
            pending.bytes.extend_from_slice(&[n; 10_000]);
            pending.mark();
        }
        let mut writing = pending.take(&mut Vec::new()).expect("something");
        let mut out = Vec::new();
        while writing.left() > 0 {
            if out.len() >= 25_000 && writing.may_interrupt() && !out.contains(&b'!') {
                writing.interrupt(b"!!".to_vec());
            }
            let part = writing.next();
            let n = part.len().min(7_000);
            out.extend_from_slice(&part[..n]);
            writing.wrote(n);
        }
        let at = out.iter().position(|b| *b == b'!').expect("it went out");
        assert_eq!((at, &out[at..at + 2]), (40_000, &b"!!"[..]));
        out.drain(at..at + 2);
        assert!(out.chunks(10_000).enumerate().all(|(n, c)| c.iter().all(|b| *b == n as u8)) && out.len() == 100_000);
    }

    #[test]
    fn urgent_alone_and_before_the_rest() {
        let mut pending = Pending::default();
        assert!(pending.take(&mut Vec::new()).is_none());
        pending.urgent.extend_from_slice(b"PONG");
        pending.bytes.extend_from_slice(b"data");
        let mut writing = pending.take(&mut Vec::new()).expect("something");
        assert_eq!((writing.next(), writing.left()), (&b"PONG"[..], 8));
        writing.wrote(4);
        assert_eq!(writing.next(), b"data");
    }
}

//! What compression leaves of the bytes that cross: budgets, rates and windows are about bytes on the wire.
//!
//! The link packs what lies behind each other, so what one message takes is not known. The share of the last tens of
//! kilobytes stands for it.

use crate::leaf::Volume;

/// Bytes, before compression, that are enough to tell a share.
const SAMPLE: u64 = 2 * 1024;
/// Bytes after which a new share has replaced an old one.
const SPAN: f64 = 32.0 * 1024.0;

/// The share in one direction.
#[derive(Debug)]
pub struct Share {
    seen: Volume,
    share: f64,
}

impl Default for Share {
    fn default() -> Self {
        Share { seen: Volume::default(), share: 1.0 }
    }
}

impl Share {
    /// The connection has carried this since it began; `None` if it is not compressed.
    pub fn note(&mut self, volume: Option<Volume>) {
        let Some(volume) = volume else { return *self = Share::default() };
        if volume.plain < self.seen.plain {
            // Another connection.
            self.seen = Volume::default();
        }
        let plain = volume.plain - self.seen.plain;
        if plain < SAMPLE {
            return;
        }
        let share = volume.wire.saturating_sub(self.seen.wire) as f64 / plain as f64;
        let weight = if self.seen.plain == 0 { 1.0 } else { (plain as f64 / SPAN).min(1.0) };
        self.share += (share - self.share) * weight;
        self.seen = volume;
    }

    /// What `bytes` take on the wire; at least 1.
    pub fn of(&self, bytes: u64) -> u64 {
        ((bytes as f64 * self.share) as u64).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_follows_what_crosses() {
        let mut share = Share::default();
        assert_eq!(share.of(1000), 1000);
        let mut volume = Volume::default();
        let mut carry = |share: &mut Share, kilobytes: u64, parts: u64| {
            for _ in 0..kilobytes {
                volume = Volume { plain: volume.plain + 1024, wire: volume.wire + 1024 / parts };
                share.note(Some(volume));
            }
        };
        carry(&mut share, 1, 8);
        assert_eq!(share.of(1000), 1000, "too little to tell");
        carry(&mut share, 200, 8);
        assert!((124..130).contains(&share.of(1000)), "{share:?}");
        carry(&mut share, 200, 1);
        assert!(share.of(1000) > 990, "{share:?}");
        share.note(Some(Volume { plain: 64 * 1024, wire: 16 * 1024 }));
        assert_eq!(share.of(1000), 250, "of another connection");
        share.note(None);
        assert_eq!(share.of(1000), 1000);
    }
}

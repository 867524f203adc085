//! S2 compression of a leaf connection, agreed upon between the first INFO and CONNECT (nats-server `leafnode.go`,
//! `negotiateLeafCompression`).

mod chunk;
mod stream;

#[cfg(fuzzing)]
pub use chunk::{Decoded, Decoder, Encoder};
pub use stream::S2Stream;

use crate::config::compression::{Compression, CompressionLevel, CompressionMode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

/// What two sides have agreed upon; shared by the connection and its writer, as the level follows the round trip.
#[derive(Clone, Debug)]
pub struct Agreed {
    name: &'static str,
    level: Option<Arc<AtomicU8>>,
    /// Set if the level follows the round trip.
    auto: Option<Compression>,
    volumes: Arc<Volumes>,
}

/// Bytes of a compressed connection before compression and on the wire, since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Before compression.
    pub plain: u64,
    /// On the wire, without TLS and below.
    pub wire: u64,
}

#[derive(Debug, Default)]
struct Volumes {
    sent: Counts,
    received: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    plain: AtomicU64,
    wire: AtomicU64,
}

impl Counts {
    fn add(&self, plain: usize, wire: usize) {
        self.plain.fetch_add(plain as u64, Ordering::Relaxed);
        self.wire.fetch_add(wire as u64, Ordering::Relaxed);
    }

    fn volume(&self) -> Volume {
        Volume { plain: self.plain.load(Ordering::Relaxed), wire: self.wire.load(Ordering::Relaxed) }
    }
}

/// The other side asks for what we do not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other side asks for the compression mode {0:?}, which is not known here")]
pub struct UnknownMode(String);

impl Agreed {
    /// No compression.
    pub fn none() -> Agreed {
        Agreed { name: CompressionMode::Off.name(), level: None, auto: None, volumes: Arc::default() }
    }

    /// By our configuration and the mode in the other side's INFO; `rtt` is the round trip as far as it is known.
    pub fn negotiate(own: &Compression, theirs: &str, rtt: Duration) -> Result<Agreed, UnknownMode> {
        let mode = match select(own.mode, theirs)? {
            CompressionMode::Auto => CompressionMode::Level(own.level_for(rtt)),
            mode => mode,
        };
        let level = match mode {
            CompressionMode::Level(level) => Some(Arc::new(AtomicU8::new(level as u8))),
            _ => None,
        };
        let auto = (own.mode == CompressionMode::Auto && level.is_some()).then(|| own.clone());
        Ok(Agreed { name: mode.name(), level, auto, volumes: Arc::default() })
    }

    /// Whether the connection is compressed.
    pub fn is_on(&self) -> bool {
        self.level.is_some()
    }

    /// What was sent and what was received, if the connection is compressed.
    pub fn volumes(&self) -> Option<(Volume, Volume)> {
        self.is_on().then(|| (self.volumes.sent.volume(), self.volumes.received.volume()))
    }

    /// The mode for CONNECT and monitoring.
    pub fn name(&self) -> &'static str {
        if self.is_on() { self.level().name() } else { self.name }
    }

    /// The mode for our INFO (`compressionModeForInfoProtocol`).
    pub fn info_name(&self) -> &'static str {
        if self.auto.is_some() { CompressionMode::Auto.name() } else { self.name() }
    }

    /// The level from now on.
    fn level(&self) -> CompressionLevel {
        let at = self.level.as_ref().map_or(0, |level| level.load(Ordering::Relaxed));
        CompressionLevel::ALL[usize::from(at) % CompressionLevel::ALL.len()]
    }

    /// The round trip was measured: the level follows it if the mode says so.
    pub fn adapt(&self, rtt: Duration) {
        if let (Some(auto), Some(level)) = (&self.auto, &self.level) {
            level.store(auto.level_for(rtt) as u8, Ordering::Relaxed);
        }
    }
}

/// The mode of this side, which may be another than that of the other side (`selectCompressionMode`).
fn select(own: CompressionMode, theirs: &str) -> Result<CompressionMode, UnknownMode> {
    let theirs = match theirs {
        "" => CompressionMode::NotSupported,
        name => CompressionMode::parse(name).ok_or_else(|| UnknownMode(name.to_owned()))?,
    };
    Ok(match (own, theirs) {
        (_, CompressionMode::NotSupported) | (CompressionMode::NotSupported, _) => CompressionMode::NotSupported,
        (CompressionMode::Off, _) | (_, CompressionMode::Off) => CompressionMode::Off,
        (CompressionMode::Accept, CompressionMode::Accept) => CompressionMode::Off,
        (CompressionMode::Accept, CompressionMode::Auto) => CompressionMode::Level(CompressionLevel::Fast),
        (CompressionMode::Accept, level) => level,
        (own, _) => own,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_come_to_an_agreement() {
        let rtt = Duration::from_millis(60);
        for (own, theirs, name, info) in [
            ("off", "s2_best", "off", "off"),
            ("s2_best", "off", "off", "off"),
            ("s2_best", "", "not supported", "not supported"),
            ("accept", "accept", "off", "off"),
            ("accept", "s2_auto", "s2_fast", "s2_fast"),
            ("accept", "s2_best", "s2_best", "s2_best"),
            ("s2_auto", "accept", "s2_better", "s2_auto"),
            ("s2_auto", "s2_fast", "s2_better", "s2_auto"),
            ("s2_fast", "s2_best", "s2_fast", "s2_fast"),
        ] {
            let own_config = Compression::of(CompressionMode::parse(own).expect("known"));
            let agreed = Agreed::negotiate(&own_config, theirs, rtt).expect("known");
            assert_eq!((agreed.name(), agreed.info_name()), (name, info), "{own} and {theirs}");
            assert_eq!(agreed.is_on(), name.starts_with("s2"));
        }
        assert!(Agreed::negotiate(&Compression::default(), "zip", rtt).is_err());
    }

    #[test]
    fn the_level_follows_the_round_trip() {
        let agreed = Agreed::negotiate(&Compression::default(), "s2_auto", Duration::ZERO).expect("known");
        assert_eq!(agreed.name(), "s2_uncompressed");
        agreed.adapt(Duration::from_millis(300));
        assert_eq!(agreed.name(), "s2_best");
    }
}

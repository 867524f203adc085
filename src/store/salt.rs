//! The salt of the data directory (`store.salt`), with which the checksums of its new segments begin; drawn once, and never shown
//! to anybody. Each segment names its own, so this file may be lost; it is what is left where a segment's header is damaged.

use super::frame::{self, Parsed, UNSALTED, u32_at};
use super::io::Place;
use ring::rand::{SecureRandom, SystemRandom};
use std::path::PathBuf;

/// The salt, drawn if there is none yet. A disk that does not take it is no reason not to open the store.
pub(super) fn take(place: &Place) -> u32 {
    if let Some(salt) = read(place) {
        return salt;
    }
    let mut drawn = [0; 4];
    // Not drawn as message ids are, which clients see.
    if SystemRandom::new().fill(&mut drawn).is_err() {
        return 1;
    }
    let salt = u32::from_le_bytes(drawn);
    let mut bytes = Vec::new();
    frame::push(&mut bytes, UNSALTED, |out| out.extend_from_slice(&salt.to_le_bytes()));
    let written = place.disk.open(&path(place), true).and_then(|file| {
        file.write_at(&bytes, 0)?;
        file.sync()?;
        place.disk.sync_dir(&place.dir)
    });
    if let Err(error) = written {
        tracing::debug!("{}: {error}", path(place).display());
    }
    salt
}

/// The salt, if there is one.
pub(super) fn read(place: &Place) -> Option<u32> {
    let bytes = place.disk.open(&path(place), false).ok()?.read_all().ok()?;
    match frame::parse(&bytes, UNSALTED) {
        Parsed::Whole(body, _) => u32_at(body, 0),
        Parsed::Short(_) | Parsed::Bad => None,
    }
}

fn path(place: &Place) -> PathBuf {
    place.dir.join("store.salt")
}

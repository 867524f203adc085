//! How the frames of a segment are made: the salt of their checksums, and the key that seals them.

use super::StoreError;
use super::io::Place;
use super::vault::FileKey;

/// Of one segment.
#[derive(Default)]
pub(super) struct Coding {
    /// With which checksums begin; see [`super::frame`].
    pub salt: u32,
    /// What seals its records, if the data directory is encrypted.
    pub key: Option<FileKey>,
}

impl Coding {
    /// Of the segment that begins at `base` of the log in `place`.
    pub fn new(place: &Place, base: u64, salt: u32) -> Result<Coding, StoreError> {
        let key = place.vault.as_ref().map(|vault| vault.segment(&place.dir, base)).transpose()?;
        Ok(Coding { salt, key })
    }
}

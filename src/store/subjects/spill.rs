//! The file with the blocks of subjects that are not in memory. It is of use to this process only: made anew at each opening, never
//! synced, and sealed like other hints if the data directory is encrypted. A block is a frame of its serial number (u32) and what
//! [`super::block`] says; it is never written over, but freed when another one has taken its place.

use crate::store::StoreError;
use crate::store::frame::{self, Parsed, UNSALTED};
use crate::store::io::{DiskFile, Place};
use crate::store::vault::{self, Kind};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Blocks begin at multiples of this, bytes.
const UNIT: u64 = 512;

/// Where a block lies.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    at: u32,
    units: u32,
    len: u32,
    serial: u32,
}

impl Slot {
    /// Bytes it takes in the file.
    pub fn bytes(&self) -> u64 {
        u64::from(self.units) * UNIT
    }
}

/// The file.
pub struct SpillFile {
    place: Place,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// Units in use or free.
    end: u32,
    /// Begins of free pieces, by how many units they have.
    free: BTreeMap<u32, Vec<u32>>,
    serial: u32,
}

impl SpillFile {
    pub fn create(place: &Place, name: &str) -> Result<SpillFile, StoreError> {
        let path = place.dir.join(name);
        let failed = |e| StoreError::io("create", &path, e);
        let file = place.disk.open(&path, true).map_err(failed)?;
        file.truncate(0).map_err(failed)?;
        Ok(SpillFile { place: place.clone(), path, file, end: 0, free: BTreeMap::new(), serial: 0 })
    }

    /// Writes a block.
    pub fn write(&mut self, block: &[u8]) -> Result<Slot, StoreError> {
        self.serial = self.serial.wrapping_add(1);
        let bytes = seal(&self.place, self.serial, block);
        let units = (bytes.len() as u64).div_ceil(UNIT) as u32;
        let at = match self.free.get_mut(&units).and_then(Vec::pop) {
            Some(at) => at,
            None => {
                let at = self.end;
                let full = || StoreError::io("extend", &self.path, io::ErrorKind::FileTooLarge.into());
                self.end = at.checked_add(units).ok_or_else(full)?;
                at
            }
        };
        let slot = Slot { at, units, len: bytes.len() as u32, serial: self.serial };
        let written = self.file.write_at(&bytes, u64::from(at) * UNIT);
        written.map_err(|e| {
            self.release(slot);
            StoreError::io("write", &self.path, e)
        })?;
        Ok(slot)
    }

    /// Reads a block.
    pub fn read(&self, slot: Slot) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; slot.len as usize];
        let failed = |e| StoreError::io("read", &self.path, e);
        let read = self.file.read_full(&mut bytes, u64::from(slot.at) * UNIT).map_err(failed)?;
        let damaged = || failed(io::Error::new(io::ErrorKind::InvalidData, "a block of subjects is damaged"));
        open(&self.place, slot.serial, &bytes[..read]).ok_or_else(damaged)
    }

    /// The block is of no use any more.
    pub fn release(&mut self, slot: Slot) {
        self.free.entry(slot.units).or_default().push(slot.at);
    }

    #[cfg(test)]
    pub fn damage(&self, slot: Slot) {
        self.file.write_at(b"x", u64::from(slot.at) * UNIT + 20).expect("written");
    }

    /// Bytes of memory for what is known of free pieces.
    pub fn memory(&self) -> usize {
        self.free.values().map(|free| free.len() * size_of::<u32>()).sum()
    }
}

impl Drop for SpillFile {
    fn drop(&mut self) {
        // If it stays, the next opening removes it.
        let _ = self.place.disk.remove(&self.path);
    }
}

/// A block as it stands in the file.
pub(super) fn seal(place: &Place, serial: u32, block: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(block.len() + 64);
    vault::push(place.vault.as_ref(), Kind::Hint, &mut bytes, |out| {
        out.extend_from_slice(&serial.to_le_bytes());
        out.extend_from_slice(block);
    });
    bytes
}

/// The block out of what stands in the file; `None` if it is not the one with this number.
pub(super) fn open(place: &Place, serial: u32, bytes: &[u8]) -> Option<Vec<u8>> {
    let Parsed::Whole(body, _) = frame::parse(bytes, UNSALTED) else { return None };
    let body = vault::open_body(place.vault.as_ref(), Kind::Hint, body)?;
    body.strip_prefix(&serial.to_le_bytes()).map(<[u8]>::to_vec)
}

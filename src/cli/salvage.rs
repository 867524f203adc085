//! `leafd salvage DIR NEW`: writes what is readable of a damaged data directory to a new one.

use super::fsck;
use crate::store;
use std::path::Path;

/// Salvages, and prints what was found.
pub fn run(dir: &Path, key_file: Option<&Path>, new: &Path, new_key_file: Option<&Path>) -> Result<(), String> {
    let (key, new_key) = (fsck::key(key_file)?, fsck::key(new_key_file)?);
    let report = store::salvage(dir, key.as_ref(), new, new_key.as_ref()).map_err(|e| e.to_string())?;
    fsck::print(dir, &report);
    println!("what is readable is in {}; start leafd with it as data_dir", new.display());
    Ok(())
}

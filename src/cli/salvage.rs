//! `leafd salvage DIR NEW`: writes what is readable of a damaged data directory to a new one.

use super::fsck;
use crate::store;
use std::path::Path;

/// Salvages, and prints what was found.
pub fn run(dir: &Path, new: &Path) -> Result<(), String> {
    let report = store::salvage(dir, new).map_err(|e| e.to_string())?;
    fsck::print(&report);
    println!("what is readable is in {}; start leafd with it as data_dir", new.display());
    Ok(())
}

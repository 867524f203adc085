//! The same program without an engine: what the others are compared with.

use std::path::Path;
use store_engines::{Engine, Result};

struct Nothing(Vec<Vec<u8>>);

impl Engine for Nothing {
    fn open(_: &Path) -> Result<Self> {
        Ok(Nothing(Vec::new()))
    }

    fn write(&mut self, append: &[Vec<u8>], _: &[u64]) -> Result<()> {
        self.0.extend_from_slice(append);
        Ok(())
    }

    fn read(&self, seq: u64) -> Result<Option<Vec<u8>>> {
        Ok(self.0.get(seq as usize - 1).cloned())
    }

    fn last(&self) -> u64 {
        self.0.len() as u64
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

fn main() -> Result<()> {
    store_engines::workload::probe::<Nothing>()
}

//! A program with this engine and no other, for the size of its binary.

fn main() -> store_engines::Result<()> {
    store_engines::workload::probe::<store_engines::engines::Redb>()
}

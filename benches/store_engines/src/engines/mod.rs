//! The engines, each set up as its documentation recommends for durable writes and otherwise left at its defaults.

mod fjall;
mod leafd;
mod redb;
mod sled;

pub use self::fjall::Fjall;
pub use self::leafd::Leafd;
pub use self::redb::Redb;
pub use self::sled::{Sled, SledSynced};

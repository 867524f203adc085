//! What an engine has to do: keep a log of records by consecutive sequences, as a stream does.

use crate::engines::{Fjall, Leafd, Redb, Sled, SledSynced};
use crate::{Error, Result};
use std::path::Path;

/// A log of records over a storage engine. Sequences begin at 1.
pub trait Engine: Send {
    /// Opens or creates the log in a folder that exists.
    ///
    /// # Errors
    /// The engine refuses what it finds.
    fn open(dir: &Path) -> Result<Self>
    where
        Self: Sized;

    /// Stores `append` behind what is there and deletes `remove`: everything that waits behind one committer, in one go.
    /// All of it is durable on return, as far as the engine can be told to do so.
    ///
    /// # Errors
    /// The engine could not make it durable; none of it counts as acknowledged.
    fn write(&mut self, append: &[Vec<u8>], remove: &[u64]) -> Result<()>;

    /// The record of a sequence; `None` if the engine says that there is none.
    ///
    /// # Errors
    /// The engine knows that it cannot read the record.
    fn read(&self, seq: u64) -> Result<Option<Vec<u8>>>;

    /// The last sequence given that the engine knows of; 0 if there is none.
    fn last(&self) -> u64;

    /// Ends the engine in order.
    ///
    /// # Errors
    /// It could not write what it had left to write.
    fn close(self: Box<Self>) -> Result<()>;
}

/// The engines that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// leafd's segment log.
    Leafd,
    /// fjall 3: a log-structured merge tree.
    Fjall,
    /// redb 4: a copy-on-write B-tree.
    Redb,
    /// sled 0.34 as its documentation says, with `flush`.
    Sled,
    /// sled 0.34 with an fdatasync of its file behind every `flush`.
    SledSynced,
}

impl Kind {
    /// All, in the order of the table.
    pub const ALL: [Kind; 5] = [Kind::Leafd, Kind::Fjall, Kind::Redb, Kind::Sled, Kind::SledSynced];

    /// As it is named on the command line and in the table.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Leafd => "leafd",
            Kind::Fjall => "fjall",
            Kind::Redb => "redb",
            Kind::Sled => "sled",
            Kind::SledSynced => "sled+fdatasync",
        }
    }

    /// Opens or creates the engine's log in a folder that exists.
    ///
    /// # Errors
    /// The engine refuses what it finds.
    pub fn open(self, dir: &Path) -> Result<Box<dyn Engine>> {
        Ok(match self {
            Kind::Leafd => Box::new(Leafd::open(dir)?),
            Kind::Fjall => Box::new(Fjall::open(dir)?),
            Kind::Redb => Box::new(Redb::open(dir)?),
            Kind::Sled => Box::new(Sled::open(dir)?),
            Kind::SledSynced => Box::new(SledSynced::open(dir)?),
        })
    }
}

impl std::str::FromStr for Kind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Kind> {
        let known = Kind::ALL.map(Kind::name).join(", ");
        let found = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| format!("there is no engine {name}; there are {known}").into())
    }
}

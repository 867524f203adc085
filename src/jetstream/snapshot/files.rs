//! Restoring what a nats-server before 2.15 backed up: the files of its stream (`server/filestore.go` of 2.14, `streamSnapshot`).
//!
//! ```text
//! meta.inf, meta.sum, msgs/<n>.blk ..., msgs/index.db, obs/<consumer>/{meta.inf, meta.sum, o.dat} ...
//! ```
//!
//! Which messages were removed is told by the blocks, but for those that the stream's limits removed: they go again by these.

use super::blocks::{self, Item};
use super::restore::{Filling, Wanted, add_consumer, failed};
use super::tar::Tar;
use crate::jetstream::error::ApiError;
use crate::jetstream::manager::JetStream;
use crate::jetstream::stream::Stream;
use crate::store::Record;
use serde_json::Value;
use std::io::Read;
use std::sync::Arc;

/// Largest file but for blocks.
const MAX_FILE: u64 = 64 << 20;
/// Removals that are gathered.
const REMOVALS: usize = 1 << 16;

/// Reads the files and makes the stream. Blocks.
pub(super) fn take(jetstream: &Arc<JetStream>, wanted: Wanted, input: impl Read) -> Result<Arc<Stream>, ApiError> {
    let mut tar = Tar::new(input);
    let meta = match tar.next().map_err(failed)? {
        Some((name, _)) if name == "meta.inf" => tar.content(MAX_FILE).map_err(failed)?,
        _ => return Err(failed("the stream's configuration does not come first")),
    };
    let meta: Value = serde_json::from_slice(&meta).map_err(failed)?;
    if meta["name"] != wanted.config.name {
        return Err(failed("stream names do not match"));
    }
    let (stream, file) = fill(jetstream, wanted, &mut tar)?;
    if let Err(error) = take_consumers(jetstream, &stream, &mut tar, file) {
        // It may be gone already, with the consumer that could not be made.
        let _ = jetstream.delete_stream(stream.name());
        return Err(error);
    }
    jetstream.store().barrier().wait().map_err(failed)?;
    Ok(stream)
}

/// Stores the messages; gives the first file after them.
fn fill(
    jetstream: &Arc<JetStream>,
    wanted: Wanted,
    tar: &mut Tar<impl Read>,
) -> Result<(Arc<Stream>, Option<String>), ApiError> {
    let first = wanted.first_seq.max(1);
    let mut made = Filling::begin(jetstream, wanted.config, first)?;
    let (mut removed, mut last) = (Vec::new(), 0);
    let file = loop {
        let file = tar.next().map_err(failed)?.map(|(name, _)| name);
        match &file {
            Some(name) if name.starts_with("msgs/") && name.ends_with(".blk") => {}
            Some(name) if name == "meta.sum" || name == "msgs/index.db" => continue,
            _ => break file,
        }
        while let Some(item) = blocks::next(tar).map_err(failed)? {
            match item {
                Item::Message { seq, time, subject, headers, payload } => {
                    last = last.max(seq);
                    if seq > made.last {
                        let record = Record { subject: &subject, headers: &headers, payload: &payload };
                        made.store(seq, time, &record)?;
                    }
                }
                Item::Removed(seq) => {
                    last = last.max(seq);
                    removed.push(seq);
                }
            }
            if removed.len() >= REMOVALS {
                made.remove(&removed)?;
                removed.clear();
            }
        }
    };
    made.remove(&removed)?;
    made.end(last.max(first - 1)).map(|stream| (stream, file))
}

/// Makes the consumers, from `file` on.
fn take_consumers(
    jetstream: &JetStream,
    stream: &Stream,
    tar: &mut Tar<impl Read>,
    mut file: Option<String>,
) -> Result<(), ApiError> {
    let mut meta = Vec::new();
    while let Some(path) = file {
        let Some((name, part)) = path.strip_prefix("obs/").and_then(|rest| rest.split_once('/')) else {
            return Err(failed(format!("{path} is not a file of a stream")));
        };
        match part {
            "meta.inf" => meta = tar.content(MAX_FILE).map_err(failed)?,
            "o.dat" => {
                let state = tar.content(MAX_FILE).map_err(failed)?;
                let snapshot = blocks::consumer(&meta, &state).map_err(failed)?;
                add_consumer(jetstream, stream, name, snapshot)?;
            }
            _ => {}
        }
        file = tar.next().map_err(failed)?.map(|(name, _)| name);
    }
    Ok(())
}

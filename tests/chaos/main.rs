//! Outages in compressed time, by a seeded schedule, at a hub of one node and at one of three. The hub's stream must hold each
//! reading once and in order; only what the hub itself has lost may be missing. That is looked at at the end, and each time
//! before the stream is deleted or replaced by a backup. Time is compressed 120 times: the hub's window for duplicates, two
//! minutes by default, is one second, and the longest outage of 30 s stands for an hour.
//!
//! `LEAFD_CHAOS_MINUTES` says how long each test lasts (half a minute), `LEAFD_SEED` replays a run.

#[path = "../common/mod.rs"]
mod common;

mod cluster;
mod line;
mod readings;
mod single;

//! The system account: a nats-server and leafd see the same work, and what they tell of it and answer there is the same
//! JSON, but for what differs between any two servers.

#[path = "../common/mod.rs"]
mod common;

mod connections;
mod crowds;
mod info;
mod leafs;
mod pair;
mod requests;
mod traces;

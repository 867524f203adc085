//! Leaf connections between leafd and nats-server, in both roles: how they are set up, and what crosses them.

#[path = "../common/mod.rs"]
mod common;

mod accounts;
mod backlogs;
mod beside;
mod chain;
mod check;
mod compression;
mod credentials;
mod delivery;
mod differential;
mod failover;
mod interface;
mod options;
mod outage;
mod proxies;
mod reload;
mod rig;
mod slow;
mod state;
mod streams;
mod websocket;

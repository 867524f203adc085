//! Who may connect and what it may do: every case is played to leafd and to nats-server over a bare socket, and the
//! lines that come back must be the same.

#[path = "../common/mod.rs"]
mod common;

mod callout;
mod callout_operator;
mod certificates;
mod clients;
mod jwt;
mod jwt_sharing;
mod lowered;
mod permissions;
mod reload;
mod resolver;
mod stream_limits;
mod users;
mod websocket;

use common::play;

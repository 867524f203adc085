//! leafd: an edge leaf-node daemon that is a complete NATS server on an IoT gateway.
//!
//! Data flows one way: `adapters`, clients and the leaf link publish into an account's router; the router delivers to
//! subscribers, to the leaf link and to the streams that capture; the store makes it durable; consumers, mirrors and the
//! uplink read what is committed. Each module below says whom it may use; a cycle is a sign of a piece in the wrong room.

/// Accounts: the router with its subscriptions, and in-process clients. Uses `subject`, `protocol`.
pub mod account;
/// Sensors: serial, MQTT. Use only in-process clients and `config`.
pub mod adapters;
/// Who a client is and what it may do. Uses `account`, `subject`, `config`.
pub mod auth;
/// One file per command of the `leafd` program.
pub mod cli;
/// The configuration: one struct per table, files and conf.d, validation.
pub mod config;
/// The running daemon: builds the parts from the configuration, connects them, and ends them in order.
pub mod daemon;
/// What the server tells of itself in its system account. Uses `account`, `protocol`.
pub mod events;
/// Streams, consumers and the JetStream API. Uses `store`, `account`.
pub mod jetstream;
/// The link to the hub, and leaf connections that others make to us. Uses `protocol`, `account`, `server::outbound`.
pub mod leaf;
/// Status snapshots of everybody, for `leafd status`. Used by none.
pub mod monitor;
/// Wire grammar: parser, operations, headers, INFO and CONNECT. Uses nothing of ours and does no I/O.
pub mod protocol;
/// Listeners, client connections and outbound buffers. Uses `protocol`, `account`, `events`.
pub mod server;
/// Segment log, commit thread, recovery, state log. Knows no NATS.
pub mod store;
/// Subject and wildcard rules, and the subject index. Uses nothing of ours.
pub mod subject;
/// The operating system: systemd, journald, signals, clock, disk space.
pub mod system;
/// Store and forward: captures subjects and delivers them to the hub once and in order. Uses `jetstream`, `leaf`, `account`.
pub mod uplink;

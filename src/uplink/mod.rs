//! Store and forward: captures subjects in a local stream and delivers each message to the hub's stream once and in order.

pub mod machine;

//! The pure steps around an adapter: framing, and subjects from templates.

pub mod framing;
pub mod subject;

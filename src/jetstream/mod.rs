//! Not written yet.
pub mod consumer;

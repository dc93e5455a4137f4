//! Being laid.
pub mod environment;

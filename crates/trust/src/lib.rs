//! Being laid.

pub mod attest;
pub mod keys;
pub mod transparency;

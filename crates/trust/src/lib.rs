//! Being laid.

pub mod attest;
pub mod authz;
pub mod gate;
pub mod keys;
pub mod transparency;

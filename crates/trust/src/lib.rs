//! Being laid.

pub mod attest;
pub mod authz;
pub mod keys;
pub mod transparency;

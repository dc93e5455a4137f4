//! Who may do what, and who vouches: authorization, gates, keys, attestations, the log seen from outside.
//!
//! in: requests, policies, key bytes, statements, a log's copies; out: decisions, signatures, reports.
//! **Invariant:** no file, socket or process: it decides and signs over bytes that others read and write.
#![warn(missing_docs)]

pub mod attest;
pub mod authz;
pub mod gate;
pub mod keys;
pub mod transparency;

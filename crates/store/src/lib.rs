//! What remembers: artifacts, the log, the journal, and the catalog over them.
//!
//! in: bytes, leaves, records; out: the same, verified on every read.
//! **Invariant:** the log is the truth; the catalog is an index that can be made again from it.
#![warn(missing_docs)]

pub mod artifacts;
pub mod barrier;
pub mod catalog;
pub mod disk;
pub mod error;
mod folders;
pub mod journal;
pub mod lineage;
pub mod log;
pub mod scratch;
pub mod workspace;

pub use error::StoreError;

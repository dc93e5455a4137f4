//! Integration tests of the store: one binary, one module a subject.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    reason = "a test may panic: that is how it fails"
)]

mod artifacts;
mod catalog;
mod environment;
mod evidence;
mod folder;
mod journal;
mod journal_renewal;
mod scratch;
mod seam;
#[path = "../../examples/signer/mod.rs"]
#[allow(dead_code, reason = "tests need only part of it")]
mod signer;
mod workspace;

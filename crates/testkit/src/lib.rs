//! What tests need beyond the crates themselves: a simulated disk and signer, and the simulator that runs the real store on them.
//!
//! in: seeds; out: violations of what durability promises, each with the seed that shows it.
//! **Invariant:** nothing here is linked into the product: the one edge to it is a test's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it plays the disk and the crash, and fails by panicking, as tests do"
)]

pub mod disk;
pub mod engine;
pub mod image;
pub mod random;
pub mod signer;
pub mod simulation;

//! The simulator's own tests: thousands of stories without a broken promise, and every forgotten barrier found.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests fail by panicking"
)]

mod engine;
mod power_cut;
mod simulation;

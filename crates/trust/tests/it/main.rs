//! Integration tests of trust, one binary.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; the fixtures lie outside of test functions"
)]

mod attacks;
mod chain;
mod world;

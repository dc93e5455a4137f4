//! Integration tests of core: files in, plans, diagnostics and locks out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

mod faults;
mod lock;
mod mutations;
mod plans;
mod sample;
mod schemas;
mod size;

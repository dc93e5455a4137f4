//! Integration tests of inspect: fixtures made by Python's libraries (tests/fixtures/make.py) → what our checks say of them.
//!
//! Tolerances are stated where they are used.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a test that meets the unexpected must stop, also in the functions its tests share"
)]

mod anomalies;
mod drift;
mod explain;
mod models;
mod performance;
mod registry;
mod schemas;
mod score;
mod support;
mod tables;

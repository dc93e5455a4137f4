//! Integration tests of inspect: fixtures made by Python's libraries (tests/fixtures/make.py) → what our checks say of them.
//!
//! Tolerances are stated where they are used.

mod models;
mod schemas;
mod support;
mod tables;

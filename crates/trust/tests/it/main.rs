//! Integration tests of trust, one binary.

mod chain;
mod world;

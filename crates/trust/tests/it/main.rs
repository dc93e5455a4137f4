//! Integration tests of trust, one binary.

mod attacks;
mod chain;
mod world;

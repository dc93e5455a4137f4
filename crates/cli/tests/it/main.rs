//! End-to-end tests: the real binary, real namespaces, a tiny workspace of shell steps.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::disallowed_methods,
    clippy::print_stderr,
    unreachable_pub,
    reason = "tests fail by panicking, and play the part of a user's shell"
)]

mod attacks;
mod command_line;
mod crash;
mod egress;
mod example;
mod flips;
mod gates;
mod image;
mod journal;
mod keys;
mod kills;
mod landlock;
mod lock;
mod ordinary;
mod retries;
mod sandbox;
mod secrets;
mod signer;
mod spine;
mod stop;
mod witness;
mod workers;
mod workspace;

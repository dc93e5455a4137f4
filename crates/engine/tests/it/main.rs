//! Integration tests of the engine.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking, and set up their own files"
)]

mod bytecode;
mod environment;
mod example_data;
mod example_gates;
mod example_workflow;
mod host_tree;
mod image_attacks;
mod image_maker;
mod image_registry;
mod signer;
mod workers;

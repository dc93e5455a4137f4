//! The sandbox from outside: a battery of attacks with controls, ends of runs, outputs, ordinary users.
//!
//! In: the probe program. Out: pass or fail.
//!
//! **Invariant:** an attack counts as stopped only if the same attack works without the sandbox, or the table says why that
//! cannot be tried.
#![cfg(target_os = "linux")]
#![expect(clippy::disallowed_methods, reason = "tests start programs and write files")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation is a failed test; the helpers lie outside of test functions"
)]

mod battery;
mod closures;
mod devices;
mod ends;
mod harness;
mod landlock;
mod mounts;
mod ordinary;
mod outputs;
mod preflight;
mod recluse;
mod zygote;

//! Turn a plan into evidence: the run, its steps, their environments.
//!
//! **Invariant:** this crate spawns only through the sandbox, decides only through trust, writes only through store.

pub mod authorize;
mod code;
mod commit;
pub mod egress;
pub mod engine;
pub mod environment;
pub mod error;
mod gate_input;
mod inputs;
pub mod launcher;
pub mod pin_history;
pub mod pins;
pub mod progress;
mod proven;
pub mod report;
mod resume;
mod retry;
pub mod run;
pub mod runtime;
mod schedule;
pub mod secrets;
pub mod signer;
mod statements;
mod step;
pub mod turns;
pub mod workers;

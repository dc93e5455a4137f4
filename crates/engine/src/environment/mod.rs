//! Environments: what a step runs in.
//!
//! in: a lock file with hashes, an interpreter of this machine; out: [`Environment`]: mounts, links and variables for the sandbox, and the digests that the attestation names.
//! `requirements` reads the lock, `interpreter` and `search` find Python, `provision` gets the wheels into the store, `wheel` and `unpack` make a tree of
//! them, `worked` has workers read them, `cache` keeps and re-hashes it, `host` and `host_tree` copy what is needed of the host, `seal` tells whether a tree was touched,
//! `bytecode` compiles Python once, `setting` shows all of it to a sandbox.
//! **Invariant:** no code of a wheel runs before a step imports it; nothing is taken that the lock does not name by hash.

mod bytecode;
mod cache;
mod digest;
mod error;
mod host;
mod host_tree;
pub mod image;
mod interpreter;
mod memo;
mod provision;
mod requirements;
mod seal;
mod search;
mod setting;
mod unpack;
mod wheel;
mod worked;

#[cfg(test)]
mod tests;

pub use bytecode::{Bytecode, Compile};
pub use cache::StoredWheel;
pub use digest::{LAYOUT, environment_digest};
pub use error::EnvironmentError;
pub use host::{HostFiles, closure_files, closure_manifest};
pub use host_tree::Places;
pub(crate) use image::take_apart;
pub use interpreter::{Interpreter, find_interpreter};
pub use memo::find_interpreter_remembered;
pub(crate) use memo::is_unchanged;
pub use provision::{Environment, IndexSettings, Provision, Resolved, provision, resolve};
pub use requirements::{Requirement, Requirements, normalise};
pub use search::Search;
pub use setting::Setting;
pub use wheel::{Wheel, WheelFile, WheelListing, WheelName};
pub(crate) use worked::send_content;

//! What names an environment.
//!
//! in: digests of wheels, the interpreter; out: one [`Digest`].
//! **Invariant:** the same wheels under the same interpreter always have the same digest, in whatever order they are given; the unpacked tree follows from both and [`LAYOUT`].

use seaworthy_core::digest::Digest;

use super::interpreter::Interpreter;

/// Counts changes in how wheels become a tree.
pub const LAYOUT: u32 = 1;

/// Sorted wheel digests, interpreter, layout version. A digest of the unpacked tree would not do: two installations of one
/// lock differ in every `.pyc` and script.
#[must_use]
pub fn environment_digest(wheels: &[Digest], interpreter: &Interpreter) -> Digest {
    let mut sorted = wheels.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut text = format!("seaworthy python environment {LAYOUT}\ninterpreter {}\n", interpreter.digest);
    for wheel in sorted {
        text.push_str("wheel ");
        text.push_str(&wheel.hex());
        text.push('\n');
    }
    Digest::of(text.as_bytes())
}

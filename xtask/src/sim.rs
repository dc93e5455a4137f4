//! The simulator, as long as one likes: `cargo xtask sim 100000`; a seed that failed again: `cargo xtask sim 1 SEED`.
//!
//! in: how many seeds, and the first; out: the test's line of numbers, and an error if a promise was broken.

use std::process::Command;

use crate::Outcome;
use crate::process::{cargo, run};

/// The one test that runs seeds.
const TEST: &str = "simulation::no_seed_breaks_a_promise";

pub(crate) fn seeds(count: &str, from: &str) -> Outcome {
    run(command(count, from)?)
}

/// What runs the seeds and prints their numbers, a line of JSON.
pub(crate) fn command(count: &str, from: &str) -> Result<Command, String> {
    for number in [count, from] {
        number.parse::<u64>().map_err(|_| format!("`{number}` is no number of seeds"))?;
    }
    let mut test = cargo(&["test", "--quiet", "-p", "seaworthy-testkit", "--test", "it", "--", "--exact", TEST, "--nocapture"]);
    test.env("SEAWORTHY_SIM_SEEDS", count).env("SEAWORTHY_SIM_FROM", from);
    Ok(test)
}

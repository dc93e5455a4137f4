//! The simulator, as long as one likes: `cargo xtask sim 100000`; a seed that failed again: `cargo xtask sim 1 SEED`. With `--engine` the
//! engine's stories instead of the store's.
//!
//! in: how many seeds, and the first; out: the test's line of numbers, and an error if a promise was broken.

use std::process::Command;

use crate::Outcome;
use crate::process::{cargo, run};

/// The test that runs seeds of the store.
const STORE: &str = "simulation::no_seed_breaks_a_promise";
/// The test that runs seeds of the engine.
const ENGINE: &str = "engine::no_seed_breaks_a_promise_of_the_engine";

pub(crate) fn main(arguments: &[&str]) -> Outcome {
    let engine = arguments.contains(&"--engine");
    let numbers: Vec<&str> = arguments.iter().copied().filter(|argument| *argument != "--engine").collect();
    let test = if engine { ENGINE } else { STORE };
    match numbers.as_slice() {
        [count] => run(command_of(test, count, "1")?),
        [count, from] => run(command_of(test, count, from)?),
        _ => Err("usage: cargo xtask sim N [FROM] [--engine]".to_owned()),
    }
}

/// What runs the seeds of the store and prints their numbers, a line of JSON.
pub(crate) fn command(count: &str, from: &str) -> Result<Command, String> {
    command_of(STORE, count, from)
}

/// A real run, cut at every change, and continued from every one of these states.
pub(crate) fn cuts(torn: &str) -> Outcome {
    torn.parse::<u64>().map_err(|_| format!("`{torn}` is no number of states"))?;
    let test = "power_cut::no_power_cut_in_a_real_run_breaks_a_promise";
    let mut cuts = cargo(&["test", "--quiet", "-p", "seaworthy-testkit", "--test", "it", "--", "--exact", test, "--nocapture"]);
    cuts.env("SEAWORTHY_CUTS", torn);
    run(cuts)
}

fn command_of(test: &str, count: &str, from: &str) -> Result<Command, String> {
    for number in [count, from] {
        number.parse::<u64>().map_err(|_| format!("`{number}` is no number of seeds"))?;
    }
    let mut seeds = cargo(&["test", "--quiet", "-p", "seaworthy-testkit", "--test", "it", "--", "--exact", test, "--nocapture"]);
    seeds.env("SEAWORTHY_SIM_SEEDS", count).env("SEAWORTHY_SIM_FROM", from);
    Ok(seeds)
}
